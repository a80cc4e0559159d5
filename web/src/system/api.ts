/** The installation, as the API has it. */
import { useQuery } from '@tanstack/react-query'
import { useEffect } from 'react'
import { api } from '../api/client'
import { onTouched } from '../api/live'
import { queryClient } from '../api/query'

const KEY = ['system', 'of', 'figures']
/** Shortest time between two looks at the figures. */
const EVERY_MS = 3_000

export function useSystem() {
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const stop = onTouched(() => {
      timer ??= setTimeout(() => {
        timer = undefined
        void queryClient.invalidateQueries({ queryKey: KEY })
      }, EVERY_MS)
    })
    return () => {
      stop()
      clearTimeout(timer)
    }
  }, [])
  return useQuery({ queryKey: KEY, queryFn: ({ signal }) => api.get('/v1/system', { signal }) })
}

/** Whether this manager has an ability; a missing one means "every manager has it". */
export function useAble(): (capability?: string) => boolean {
  const { data } = useQuery({
    queryKey: ['system', 'abilities'],
    queryFn: async ({ signal }) => new Set((await api.get('/v1/system', { signal })).capabilities),
    staleTime: Number.POSITIVE_INFINITY,
  })
  return (c) => c === undefined || !!data?.has(c)
}
