/** User accounts, as the API has them. */
import { api } from '../api/client'
import { term } from '../api/filter'
import type { ListSource } from '../api/list'
import { useObject } from '../api/object'
import { keys, queryClient } from '../api/query'
import type { ListQuery, Page, Schemas } from '../api/schema'

export type User = Schemas['User']

export const listUsers = (query: ListQuery, signal?: AbortSignal) =>
  api.get('/v1/users', { query, signal }) as Promise<Page<User>>
export const userSource: ListSource<User> = { kind: 'user', fetch: listUsers }
export const useUser = (name: string) =>
  useObject('user', name, (signal) => api.get('/v1/users/{user}', { path: { user: name }, signal }))
export const findUsers = async (text: string, signal: AbortSignal) =>
  (await listUsers({ filter: term('name', '~', text), limit: 10, fields: 'name', sort: 'name' }, signal)).items

/** Accounts make no events: what was changed here is read again here. */
export const reread = () => queryClient.invalidateQueries({ queryKey: keys.all('user') })

export async function updateUser(user: User, body: Schemas['UserUpdate']) {
  await api.patch('/v1/users/{user}', { path: { user: user.id }, body, ifMatch: user.generation })
  await reread()
}
