/** Networks, as the API has them. */
import { api } from '../api/client'
import { term } from '../api/filter'
import type { ListSource } from '../api/list'
import { useNames } from '../api/names'
import { useObject } from '../api/object'
import type { ListQuery, Page, Schemas } from '../api/schema'

export type Network = Schemas['Network']

export const listNetworks = (query: ListQuery, signal?: AbortSignal) =>
  api.get('/v1/networks', { query, signal }) as Promise<Page<Network>>
export const networkSource: ListSource<Network> = { kind: 'network', fetch: listNetworks }
export const useNetwork = (name: string) =>
  useObject('network', name, (signal) => api.get('/v1/networks/{network}', { path: { network: name }, signal }))
export const findNetworks = async (text: string, signal: AbortSignal) =>
  (await listNetworks({ filter: term('name', '~', text), limit: 10, fields: 'name', sort: 'name' }, signal)).items

/** The names of networks by id, for what knows only the id. */
export const useNetworkNames = () => useNames('network', listNetworks)
