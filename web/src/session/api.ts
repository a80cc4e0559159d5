/** Who is signed in; signing in and out. */
import { useQuery } from '@tanstack/react-query'
import { api, csrf } from '../api/client'
import { hasCode } from '../api/problem'
import { queryClient } from '../api/query'
import type { Schemas } from '../api/schema'

export type WhoAmI = Schemas['WhoAmI']
const KEY = ['session']

/** The person who is signed in; null: nobody. */
export function useSession() {
  return useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }): Promise<WhoAmI | null> => {
      // Without this value nothing could be changed, not even signed out: signing in anew gives another one.
      if (!csrf.get()) return null
      try {
        return await api.get('/v1/session', { signal })
      } catch (e) {
        if (hasCode(e, 'unauthenticated')) return null
        throw e
      }
    },
    staleTime: 60_000,
    refetchInterval: 120_000,
  })
}

export async function signIn(user: string, password: string) {
  const made = await api.post('/v1/session', { body: { user, password } })
  csrf.set(made.csrf)
  await queryClient.invalidateQueries({ queryKey: KEY })
}

export async function signOut() {
  await api.delete('/v1/session').catch(() => undefined)
  nobody()
}

/** Forgets everything of the one who was here. */
export function nobody() {
  csrf.forget()
  void queryClient.cancelQueries({ predicate: (q) => q.queryKey[0] !== KEY[0] })
  queryClient.setQueryData(KEY, null)
  queryClient.removeQueries({ predicate: (q) => q.queryKey[0] !== KEY[0] })
}

export async function changePassword(current: string, next: string) {
  await api.put('/v1/session/password', { body: { current, new: next } })
  await queryClient.invalidateQueries({ queryKey: KEY })
}
