/** One object, kept fresh by the event stream. */
import { useQuery } from '@tanstack/react-query'
import { onTouched } from './live'
import { keys, queryClient } from './query'

/** Reads `[kind, 'one', name]`; events about it read it again. */
export function useObject<T>(
  kind: string,
  name: string,
  read: (signal: AbortSignal) => Promise<T>,
  options?: { everyMs?: number; enabled?: boolean },
) {
  return useQuery({
    queryKey: keys.one(kind, name),
    queryFn: ({ signal }) => read(signal),
    refetchInterval: options?.everyMs,
    enabled: options?.enabled ?? true,
  })
}

/** Reads objects again when events name them. The key may hold a name where the event says an id, so all of a kind are looked at. */
export function keepObjectsFresh(): () => void {
  return onTouched((touched) => {
    if (touched.all) {
      void queryClient.invalidateQueries()
      return
    }
    for (const [kind, ids] of touched.ids) {
      for (const q of queryClient.getQueryCache().findAll({ queryKey: [kind, 'one'] })) {
        const [, , name, ...rest] = q.queryKey as string[]
        const id = (q.state.data as { id?: string } | undefined)?.id
        if (rest.length === 0 && name !== undefined && (ids.has(name) || (id !== undefined && ids.has(id)))) {
          void queryClient.invalidateQueries({ queryKey: q.queryKey })
        }
      }
      void queryClient.invalidateQueries({ queryKey: [kind, 'of'] })
    }
  })
}
