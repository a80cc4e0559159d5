/** Uploads under way. They go on while one looks at other pages. */
import { useSyncExternalStore } from 'react'
import { api } from '../api/client'
import { ApiError, hasCode } from '../api/problem'
import type { Schemas } from '../api/schema'
import { arrivedBytes, upload } from './api'
import { sha256 } from './sha256'

/** Tries in a row that bring nothing new before an upload is given up. */
const TRIES = 6
/** First pause before it is gone on with, in milliseconds; doubles. */
const PAUSE_MS = 1000

export interface Upload {
  name: string
  /** Where the manager fetches it from; none for a file that is sent from here. */
  url?: string
  /** No disk is in it, by its name: a VM cannot be made from it at once. */
  noDisk: boolean
  bytes: number
  sent: number
  /** `checking`: the file is read, so that an upload can be gone on with. */
  state: 'running' | 'checking' | 'done' | 'failed' | 'stopped'
  error?: unknown
  stop: () => void
}

const noDisk = (file: string) => /\.(ova|iso)$/i.test(file)

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
  const own: Upload = { name, noDisk: noDisk(file.name), bytes: file.size, sent: 0, state: 'running', stop: () => abort.abort() }
  await api.post('/v1/images', { body: { name } }).catch((e: unknown) => {
    // An image without content, from an upload that broke off, takes it now.
    if (!hasCode(e, 'conflict')) throw e
  })
  uploads = [...uploads.filter((u) => u.name !== name), own]
  put(name, {})
  window.addEventListener('beforeunload', warn)
  try {
    await send(name, file, abort.signal)
    put(name, { state: 'done', sent: file.size })
  } catch (e) {
    put(name, abort.signal.aborted ? { state: 'stopped' } : { state: 'failed', error: e })
  } finally {
    if (!uploads.some((u) => u.state === 'running' || u.state === 'checking')) window.removeEventListener('beforeunload', warn)
  }
}

/** Sends it from where an earlier try ended, and goes on when the way breaks. */
async function send(name: string, file: File, signal: AbortSignal) {
  let digest: string | undefined
  let fruitless = 0
  let best = 0
  for (;;) {
    try {
      let offset = await arrivedBytes(name, signal)
      // More than the file has is of something else.
      if (offset > file.size) offset = 0
      if (offset > best) [best, fruitless] = [offset, 0]
      if (offset > 0 && !digest) {
        put(name, { state: 'checking', sent: 0 })
        digest = await sha256(file, (sent) => put(name, { sent }), signal)
      }
      put(name, { state: 'running', sent: offset })
      return await upload(name, file, { offset, sha256: digest }, (sent) => put(name, { sent }), signal)
    } catch (e) {
      // Only a way that broke is worth another try; what the manager says is said for good.
      const broke = !signal.aborted && (!(e instanceof ApiError) || hasCode(e, 'unreachable'))
      if (!broke || ++fruitless > TRIES) throw e
      await new Promise((done) => setTimeout(done, PAUSE_MS * 2 ** Math.min(fruitless - 1, 5)))
    }
  }
}

/** How often it is looked how far a fetch is. */
const LOOK_MS = 1_000

/** Makes the image, if there is none of that name, and has the manager fetch its content. */
export async function startFetch(name: string, from: Schemas['ImageFetch']) {
  const abort = new AbortController()
  const own: Upload = {
    name,
    url: from.url,
    noDisk: noDisk(from.url.replace(/[?#].*$/, '')),
    bytes: 0,
    sent: 0,
    state: 'running',
    stop: () => abort.abort(),
  }
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
