/** Roles and their bindings, as the API has them. */
import { useQuery } from '@tanstack/react-query'
import { api } from '../api/client'
import type { ListSource } from '../api/list'
import { keys, queryClient } from '../api/query'
import type { Page, Schemas } from '../api/schema'

export type Binding = Schemas['RoleBinding'] & { name?: string }
export type Scope = Schemas['Scope']

export const bindingSource = (within?: string): ListSource<Binding> => ({
  kind: 'role_binding',
  fetch: async (query, signal) => {
    const page = (await api.get('/v1/role-bindings', { query, signal })) as Page<Schemas['RoleBinding']>
    return { ...page, items: page.items.map((b) => ({ ...b, name: `${b.user.name ?? b.user.id} – ${b.role}` })) }
  },
  within,
})

export const useRoles = () =>
  useQuery({
    queryKey: ['role'],
    queryFn: ({ signal }) => api.get('/v1/roles', { signal }) as Promise<Schemas['RoleInfo'][]>,
    staleTime: Number.POSITIVE_INFINITY,
  })

export async function reread() {
  await queryClient.invalidateQueries({ queryKey: keys.all('role_binding') })
  await queryClient.invalidateQueries({ queryKey: keys.all('user') })
}
