/** Schedules, as the API has them. */
import { api } from '../api/client'
import type { ListSource } from '../api/list'
import { keys, queryClient } from '../api/query'
import type { Page, Schemas } from '../api/schema'
import type { T } from '../i18n'

export type Schedule = Schemas['Schedule']

export const scheduleSource: ListSource<Schedule> = {
  kind: 'schedule',
  fetch: (query, signal) => api.get('/v1/schedules', { query, signal }) as Promise<Page<Schedule>>,
}
export const reread = () => queryClient.invalidateQueries({ queryKey: keys.all('schedule') })

/** The VMs that it is about. */
export const vmsOf = (s: Schedule) =>
  s.vm?.name ??
  Object.entries(s.spec.selector ?? {})
    .map(([k, v]) => `${k}=${v}`)
    .join(', ')

/** Its points in time, in a line. */
export function whenOf({ spec }: Schedule, t: T): string {
  const { rule } = spec
  if (rule.every === 'hours') return t('schedule.everyHours', { hours: rule.hours, minute: rule.minute ?? 0 })
  const days = rule.every === 'week' ? `${rule.days.map((d) => t(`schedule.${d}`)).join(', ')} ` : ''
  return `${days}${rule.at.join(', ')} ${spec.time_zone}`
}

export function keepOf({ spec }: Schedule, t: T): string {
  const { count, days } = spec.keep
  return [count && t('schedule.keepCountShort', { count }), days && t('schedule.keepDaysShort', { count: days })]
    .filter(Boolean)
    .join(', ')
}
