/** Data stores, as the API has them. */
import { api } from '../api/client'
import { term } from '../api/filter'
import type { ListSource } from '../api/list'
import { useObject } from '../api/object'
import type { ListQuery, Page, Schemas } from '../api/schema'

export type DataStore = Schemas['DataStore']

export const listDataStores = (query: ListQuery, signal?: AbortSignal) =>
  api.get('/v1/data-stores', { query, signal }) as Promise<Page<DataStore>>
export const dataStoreSource: ListSource<DataStore> = { kind: 'data_store', fetch: listDataStores }
export const useDataStore = (name: string) =>
  useObject('data_store', name, (signal) =>
    api.get('/v1/data-stores/{data_store}', { path: { data_store: name }, signal }),
  )
export const findDataStores = async (text: string, signal: AbortSignal) =>
  (await listDataStores({ filter: term('name', '~', text), limit: 10, fields: 'name', sort: 'name' }, signal)).items
export const updateDataStore = (s: DataStore, body: Schemas['DataStoreUpdate']) =>
  api.patch('/v1/data-stores/{data_store}', { path: { data_store: s.id }, body })

/** Bytes in use, where a host that reaches it told. */
export const usedBytes = (s: DataStore) => (s.total_bytes ? s.total_bytes - s.free_bytes : undefined)
