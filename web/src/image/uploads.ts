/** Uploads under way. They go on while one looks at other pages. */
import { useSyncExternalStore } from 'react'
import { api } from '../api/client'
import { hasCode } from '../api/problem'
import type { Schemas } from '../api/schema'
import { upload } from './api'

export interface Upload {
  name: string
  /** Where the manager fetches it from; none for a file that is sent from here. */
  url?: string
  bytes: number
  sent: number
  state: 'running' | 'done' | 'failed' | 'stopped'
  error?: unknown
  stop: () => void
}

let uploads: readonly Upload[] = []
const listeners = new Set<() => void>()

export function useUploads(): readonly Upload[] {
  return useSyncExternalStore(
    (l) => {
      listeners.add(l)
      return () => listeners.delete(l)
    },
    () => uploads,
  )
}

function put(name: string, change: Partial<Upload>) {
  uploads = uploads.map((u) => (u.name === name ? { ...u, ...change } : u))
  for (const l of listeners) l()
}

/** Makes the image, if there is none of that name, and sends its content. */
export async function startUpload(name: string, file: File) {
  const abort = new AbortController()
  const own: Upload = { name, bytes: file.size, sent: 0, state: 'running', stop: () => abort.abort() }
  await api.post('/v1/images', { body: { name } }).catch((e: unknown) => {
    // An image without content, from an upload that broke off, takes it now.
    if (!hasCode(e, 'conflict')) throw e
  })
  uploads = [...uploads.filter((u) => u.name !== name), own]
  put(name, {})
  window.addEventListener('beforeunload', warn)
  try {
    await upload(name, file, (sent) => put(name, { sent }), abort.signal)
    put(name, { state: 'done', sent: file.size })
  } catch (e) {
    put(name, abort.signal.aborted ? { state: 'stopped' } : { state: 'failed', error: e })
  } finally {
    if (!uploads.some((u) => u.state === 'running')) window.removeEventListener('beforeunload', warn)
  }
}

/** How often it is looked how far a fetch is. */
const LOOK_MS = 1_000

/** Makes the image, if there is none of that name, and has the manager fetch its content. */
export async function startFetch(name: string, from: Schemas['ImageFetch']) {
  const abort = new AbortController()
  const own: Upload = { name, url: from.url, bytes: 0, sent: 0, state: 'running', stop: () => abort.abort() }
  await api.post('/v1/images', { body: { name } }).catch((e: unknown) => {
    if (!hasCode(e, 'conflict')) throw e
  })
  uploads = [...uploads.filter((u) => u.name !== name), own]
  put(name, {})
  const look = setInterval(() => {
    void api
      .get('/v1/images/{image}', { path: { image: name }, signal: abort.signal })
      .then((i) => put(name, { sent: i.arrived_bytes ?? 0 }))
      .catch(() => undefined)
  }, LOOK_MS)
  try {
    const image = await api.post('/v1/images/{image}/fetch', { path: { image: name }, body: from, signal: abort.signal })
    put(name, { state: 'done', sent: image.size_bytes })
  } catch (e) {
    put(name, abort.signal.aborted ? { state: 'stopped' } : { state: 'failed', error: e })
  } finally {
    clearInterval(look)
  }
}

function warn(e: BeforeUnloadEvent) {
  e.preventDefault()
}
