/** Names by id, of the few nouns that others refer to by id alone. */
import { useQuery } from '@tanstack/react-query'
import type { ListQuery, Page } from './schema'

const PAGE_MAX = 1000

export function useNames(
  kind: string,
  list: (query: ListQuery, signal?: AbortSignal) => Promise<Page<{ id: string; name: string }>>,
) {
  const names = useQuery({
    queryKey: [kind, 'names'],
    queryFn: async ({ signal }) =>
      new Map((await list({ limit: PAGE_MAX, fields: 'name' }, signal)).items.map((o) => [o.id, o.name])),
    staleTime: 60_000,
  })
  return (id: string) => names.data?.get(id)
}
