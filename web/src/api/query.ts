/** The query cache, and the keys under which objects and lists are kept: `[kind, 'one', id]`, `[kind, 'list', …]`. */
import { QueryClient } from '@tanstack/react-query'
import { ApiError } from './problem'

/** Answers that say "not so": asking again changes nothing. */
const final = (error: unknown) =>
  error instanceof ApiError && error.problem.status >= 400 && error.problem.status < 500 && error.problem.status !== 429

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (count, error) => !final(error) && count < 3,
      // Changes come by the event stream; this is for what the stream does not tell.
      staleTime: 15_000,
      refetchOnWindowFocus: false,
    },
  },
})

export const keys = {
  all: (kind: string) => [kind] as const,
  one: (kind: string, id: string) => [kind, 'one', id] as const,
  lists: (kind: string) => [kind, 'list'] as const,
  list: (kind: string, params: unknown) => [kind, 'list', params] as const,
}
