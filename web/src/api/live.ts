/**
 * What happens, as it happens: one stream of server-sent events for the whole portal. Events are gathered for a moment and
 * told together, so that a thousand of them are one look at the page. After a break the stream goes on where it was.
 *
 * Read by `fetch` and not by EventSource, which needs each kind of event named, and hides a lost sign-in.
 */
import { problemOf } from './problem'
import type { Schemas } from './schema'

export type LiveEvent = Schemas['Event']
export type LiveState = 'connecting' | 'live' | 'lost'
/** What changed: ids by kind of object, and the events themselves. `all`: anything may have changed. */
export interface Touched {
  all: boolean
  ids: Map<string, Set<string>>
  events: LiveEvent[]
}

/** Time in which events are gathered. */
const GATHER_MS = 400
/** Waits between two tries to get the stream back, the last one for ever. */
const RETRY_MS = [500, 1_000, 2_000, 5_000]
/** Silence after which a stream is taken for broken; the manager says something every 15 seconds. */
const SILENT_MS = 40_000

type Listener = (touched: Touched) => void
const listeners = new Set<Listener>()
const stateListeners = new Set<() => void>()

let state: LiveState = 'connecting'
let running: AbortController | undefined
let lastId: string | undefined
let timer: ReturnType<typeof setTimeout> | undefined
let gathered: LiveEvent[] = []

export function onTouched(listener: Listener): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export const liveState = {
  get: () => state,
  subscribe: (listener: () => void) => {
    stateListeners.add(listener)
    return () => stateListeners.delete(listener)
  },
}

function become(next: LiveState) {
  if (state === next) return
  state = next
  for (const l of stateListeners) l()
}

function tell(touched: Touched) {
  for (const l of listeners) l(touched)
}

function flush() {
  timer = undefined
  const ids = new Map<string, Set<string>>()
  const add = (kind: string, id: string | null | undefined) => {
    if (id) ids.set(kind, (ids.get(kind) ?? new Set()).add(id))
  }
  for (const e of gathered) {
    add(e.object.kind, e.object.id)
    add('task', e.task)
  }
  if (gathered.length > 0) ids.set('event', new Set(gathered.map((e) => String(e.id))))
  const events = gathered
  gathered = []
  tell({ all: false, ids, events })
}

/** Takes one message of the stream apart. Lines that begin with a colon only say that the manager is there. */
export function parseMessage(message: string): { id?: string; data?: string } {
  const out: { id?: string; data?: string } = {}
  for (const line of message.split('\n')) {
    if (line.startsWith('id:')) out.id = line.slice(3).trim()
    else if (line.startsWith('data:')) out.data = (out.data === undefined ? '' : `${out.data}\n`) + line.slice(5).trimStart()
  }
  return out
}

function take(message: string) {
  const { id, data } = parseMessage(message)
  lastId = id ?? lastId
  if (data === undefined) return
  try {
    gathered.push(JSON.parse(data) as LiveEvent)
  } catch {
    return
  }
  if (timer === undefined) timer = setTimeout(flush, GATHER_MS)
}

/** Opens the stream, if it is not open, and keeps it open. */
export function startLive() {
  if (running) return
  running = new AbortController()
  void keep(running)
}

/** Closes the stream; nobody is signed in any more. */
export function stopLive() {
  running?.abort()
  running = undefined
  lastId = undefined
  become('connecting')
}

async function keep(own: AbortController) {
  for (let tries = 0; !own.signal.aborted; tries++) {
    const began = Date.now()
    await read(own, tries > 0).catch(() => undefined)
    if (own.signal.aborted) return
    become('lost')
    if (Date.now() - began > SILENT_MS) tries = 0
    await new Promise((done) => setTimeout(done, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]))
  }
}

/** Reads one stream to its end. */
async function read(own: AbortController, again: boolean) {
  const attempt = new AbortController()
  const stop = () => attempt.abort()
  own.signal.addEventListener('abort', stop)
  // The browser knows before the silence tells.
  window.addEventListener('offline', stop)
  let silence = setTimeout(stop, SILENT_MS)
  try {
    const headers = lastId ? { 'last-event-id': lastId } : undefined
    const answer = await fetch('/v1/events/stream', { headers, signal: attempt.signal, credentials: 'same-origin' })
    if (!answer.ok || !answer.body) throw await problemOf(answer)
    become('live')
    // Without a position nothing is known about the time in between.
    if (again) tell({ all: true, ids: new Map(), events: [] })
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    let kept = ''
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      clearTimeout(silence)
      silence = setTimeout(stop, SILENT_MS)
      const messages = (kept + value).split('\n\n')
      kept = messages.pop() ?? ''
      for (const m of messages) take(m)
    }
  } finally {
    clearTimeout(silence)
    own.signal.removeEventListener('abort', stop)
    window.removeEventListener('offline', stop)
  }
}
