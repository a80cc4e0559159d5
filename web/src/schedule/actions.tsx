/** What can be done with a schedule. */
import { DeleteOutlined, PauseCircleOutlined, PlayCircleOutlined, ThunderboltOutlined } from '@ant-design/icons'
import { api } from '../api/client'
import type { Action } from '../ui/action'
import { reread, type Schedule } from './api'

const set = async (s: Schedule, enabled: boolean) => {
  await api.patch('/v1/schedules/{schedule}', { path: { schedule: s.id }, body: { enabled }, ifMatch: s.generation })
  await reread()
  return undefined
}

export const scheduleActions: Action<Schedule>[] = [
  {
    id: 'run',
    label: 'schedule.run',
    icon: <ThunderboltOutlined />,
    group: 1,
    privilege: 'vm_edit',
    refused: (s) => (s.spec.enabled ? undefined : 'schedule.not.enabled'),
    run: async (s) => {
      await api.post('/v1/schedules/{schedule}/run', { path: { schedule: s.id } })
      await reread()
      return undefined
    },
  },
  {
    id: 'enable',
    label: 'schedule.enable',
    icon: <PlayCircleOutlined />,
    group: 1,
    privilege: 'vm_edit',
    refused: (s) => (s.spec.enabled ? 'schedule.not.resting' : undefined),
    run: (s) => set(s, true),
  },
  {
    id: 'disable',
    label: 'schedule.disable',
    icon: <PauseCircleOutlined />,
    group: 1,
    privilege: 'vm_edit',
    refused: (s) => (s.spec.enabled ? undefined : 'schedule.not.enabled'),
    run: (s) => set(s, false),
  },
  {
    id: 'delete',
    label: 'schedule.delete',
    icon: <DeleteOutlined />,
    group: 2,
    danger: true,
    privilege: 'vm_edit',
    confirm: (schedules, t) => ({ text: t('schedule.deleteText', { names: schedules.map((s) => s.name).join(', ') }) }),
    run: async (s) => {
      await api.delete('/v1/schedules/{schedule}', { path: { schedule: s.id } })
      await reread()
      return undefined
    },
  },
]
