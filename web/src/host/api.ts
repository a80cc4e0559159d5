/** Hosts, as the API has them. */
import { api } from '../api/client'
import { term } from '../api/filter'
import type { ListSource } from '../api/list'
import { useObject } from '../api/object'
import type { ListQuery, Page, Schemas } from '../api/schema'

export type Host = Schemas['Host']

export const listHosts = (query: ListQuery, signal?: AbortSignal) =>
  api.get('/v1/hosts', { query, signal }) as Promise<Page<Host>>
export const hostSource: ListSource<Host> = { kind: 'host', fetch: listHosts, ageing: true }
export const useHost = (name: string) =>
  useObject('host', name, (signal) => api.get('/v1/hosts/{host}', { path: { host: name }, signal }), { everyMs: 10_000 })
export const findHosts = async (text: string, signal: AbortSignal) =>
  (await listHosts({ filter: term('name', '~', text), limit: 10, fields: 'name', sort: 'name' }, signal)).items

export const updateHost = (host: Host, body: Schemas['HostUpdate']) =>
  api.patch('/v1/hosts/{host}', { path: { host: host.id }, body, ifMatch: host.generation })
