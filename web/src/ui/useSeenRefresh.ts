/** Reads the rows in sight again every few seconds: for figures that no event tells. */
import { useCallback, useEffect, useRef } from 'react'

const EVERY_MS = 10_000

export function useSeenRefresh(refresh?: (ids: string[]) => Promise<void>) {
  const seen = useRef<string[]>([])
  useEffect(() => {
    if (!refresh) return
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible' && seen.current.length > 0) void refresh(seen.current).catch(() => undefined)
    }, EVERY_MS)
    return () => clearInterval(timer)
  }, [refresh])
  return useCallback((ids: string[]) => {
    seen.current = ids
  }, [])
}
