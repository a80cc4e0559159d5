/** State of a page that lies in its address: it can be sent to somebody, and Back goes back. */
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useCallback } from 'react'

export type Search = Record<string, string | undefined>

export function useUrlState(): [Search, (change: Search) => void] {
  const search = useSearch({ strict: false }) as Search
  const navigate = useNavigate()
  const change = useCallback(
    (next: Search) =>
      void navigate({
        to: '.',
        search: ((old: Search) =>
          Object.fromEntries(Object.entries({ ...old, ...next }).filter(([, v]) => v !== undefined && v !== ''))) as never,
        replace: true,
      }),
    [navigate],
  )
  return [search, change]
}

/** Keeps the texts of an address's query, and nothing else. */
export function textSearch(search: Record<string, unknown>): Search {
  const kept = Object.entries(search).filter(([, v]) => ['string', 'number', 'boolean'].includes(typeof v))
  return Object.fromEntries(kept.map(([k, v]) => [k, String(v)]))
}

/** Something small that this browser remembers. */
export function remembered<V>(key: string, otherwise: V): V {
  try {
    const text = localStorage.getItem(`virga.${key}`)
    return text ? (JSON.parse(text) as V) : otherwise
  } catch {
    return otherwise
  }
}

export function remember(key: string, value: unknown) {
  localStorage.setItem(`virga.${key}`, JSON.stringify(value))
}
