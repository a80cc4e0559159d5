/** A list that is read page by page, kept fresh by the event stream, and never read whole. */
import { type InfiniteData, keepPreviousData, useInfiniteQuery, useQueryClient } from '@tanstack/react-query'
import { useCallback, useEffect, useMemo, useRef } from 'react'
import { all, anyId } from './filter'
import { onTouched } from './live'
import { keys } from './query'
import type { ListQuery, Page } from './schema'

export const PAGE_ROWS = 100
/** Ids in one question: the API takes filters of 2,000 bytes. */
const IDS_MAX = 45
/** Pages up to which a changed list is simply read again. */
const REREAD_PAGES_MAX = 2
/** Shortest time between two readings of the same list. */
const REREAD_MS = 2_500

export interface Row {
  id: string
}
export type Fetch<T> = (query: ListQuery, signal?: AbortSignal) => Promise<Page<T>>
type Data<T> = InfiniteData<Page<T>, string | undefined>

export interface ListSource<T extends Row> {
  /** The kind of its objects, as events name it. */
  kind: string
  fetch: Fetch<T>
  /** A condition that always holds here, e.g. the VMs of one host. */
  within?: string
  filter?: string
  sort?: string
  /** Events of other kinds after which it is read again. */
  also?: string[]
  enabled?: boolean
  /** Whether the rows carry figures that no event tells; they are read again while they are seen. */
  ageing?: boolean
}

export function useList<T extends Row>(source: ListSource<T>) {
  const client = useQueryClient()
  const filter = all([source.within, source.filter])
  const key = useMemo(() => keys.list(source.kind, { filter, sort: source.sort }), [source.kind, filter, source.sort])
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) =>
      source.fetch(
        { filter, sort: source.sort, limit: PAGE_ROWS, page_token: pageParam, total: pageParam === undefined },
        signal,
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last: Page<T>) => last.next_page ?? undefined,
    enabled: source.enabled ?? true,
    placeholderData: keepPreviousData,
  })
  const rows = useMemo(() => query.data?.pages.flatMap((p) => p.items) ?? [], [query.data])
  const refresh = useRowRefresh(source, key)
  useLiveList(source, key, refresh)
  return {
    ...query,
    rows,
    total: query.data?.pages[0]?.total ?? undefined,
    refresh,
    reload: () => client.invalidateQueries({ queryKey: key }),
  }
}

/** Reads some rows again and puts them in their places; what is gone is taken out. */
function useRowRefresh<T extends Row>(source: ListSource<T>, key: readonly unknown[]) {
  const client = useQueryClient()
  const fetchRows = useRef(source.fetch)
  fetchRows.current = source.fetch
  return useCallback(
    async (ids: string[]) => {
      for (let from = 0; from < ids.length; from += IDS_MAX) {
        const part = ids.slice(from, from + IDS_MAX)
        const fresh = new Map((await fetchRows.current({ filter: anyId(part), limit: IDS_MAX })).items.map((r) => [r.id, r]))
        const asked = new Set(part)
        client.setQueryData<Data<T>>(key, (old) => old && { ...old, pages: old.pages.map((p) => placed(p, asked, fresh)) })
      }
    },
    [client, key],
  )
}

function placed<T extends Row>(page: Page<T>, asked: Set<string>, fresh: Map<string, T>): Page<T> {
  if (!page.items.some((r) => asked.has(r.id))) return page
  const items = page.items.flatMap((r) => (asked.has(r.id) ? (fresh.get(r.id) ?? []) : r))
  return { ...page, items: items as T[] }
}

function useLiveList<T extends Row>(source: ListSource<T>, key: readonly unknown[], refresh: (ids: string[]) => Promise<void>) {
  const client = useQueryClient()
  const also = source.also?.join()
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let last = 0
    const reread = () => {
      timer ??= setTimeout(
        () => {
          timer = undefined
          last = Date.now()
          void client.invalidateQueries({ queryKey: key })
        },
        Math.max(0, last + REREAD_MS - Date.now()),
      )
    }
    const stop = onTouched((touched) => {
      const ids = touched.ids.get(source.kind)
      const others = also?.split(',').some((k) => touched.ids.has(k))
      if (touched.all || others) return reread()
      if (!ids) return
      const pages = client.getQueryData<Data<T>>(key)?.pages
      if (!pages || pages.length <= REREAD_PAGES_MAX) return reread()
      const known = new Set(pages.flatMap((p) => p.items.map((r) => r.id)))
      const changed = [...ids].filter((id) => known.has(id))
      if (changed.length > 0) void refresh(changed).catch(() => undefined)
    })
    return () => {
      stop()
      clearTimeout(timer)
    }
  }, [client, key, source.kind, also, refresh])
}
