/** Events, as the API has them. */
import { api } from '../api/client'
import { term } from '../api/filter'
import type { Fetch, ListSource } from '../api/list'
import type { Page, Schemas } from '../api/schema'
import type { Tone } from '../ui/Status'

export type Event = Schemas['Event']
/** An event as a row of a list: there ids are texts. */
export type EventRow = Omit<Event, 'id'> & { id: string }

export const listEvents: Fetch<EventRow> = async (query, signal) => {
  const page = (await api.get('/v1/events', { query, signal })) as Page<Event>
  return { ...page, items: page.items.map((e) => ({ ...e, id: String(e.id) })) }
}
export const eventSource = (within?: string): ListSource<EventRow> => ({ kind: 'event', fetch: listEvents, within })
export const eventsOf = (object: string) => term('object', '=', object)
export const TONES: Record<Event['severity'], Tone> = { info: 'good', warning: 'warn', error: 'bad' }
