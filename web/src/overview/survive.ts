/**
 * Whether the loss of any one host leaves room for its VMs: by memory, which Virga never promises twice. It is a sum, not a
 * placement: which VM would go where is not worked out, only that the largest fits somewhere.
 */
import { GiB } from '../ui/format'

/** What is kept of each host's memory for the host itself (`MEMORY_RESERVED_BYTES` of the manager). */
const RESERVED_BYTES = GiB

/** A host, as far as the sum needs it. */
export interface Room {
  id: string
  name: string
  state: string
  maintenance: boolean
  facts: { memory_bytes?: number }
  memory_allocated_bytes: number
}

export interface Shortage {
  host: Room
  /** Bytes that its VMs need and the others do not have. */
  missing: number
}

export type Survival =
  | { answer: 'yes' /** The host whose loss would leave least, and what it would leave. */; tightest: Room; left: number }
  | { answer: 'no'; short: Shortage[] }
  /** The largest VM fits on no other host. */
  | { answer: 'large'; bytes: number }
  | { answer: 'one' }
  | { answer: 'nothing' }

const takes = (h: Room) => h.state === 'up' && !h.maintenance
const room = (h: Room) => (takes(h) ? Math.max(0, (h.facts.memory_bytes ?? 0) - RESERVED_BYTES - h.memory_allocated_bytes) : 0)

/** The answer for these hosts. `largest`: memory of the largest VM that runs, and its host. */
export function survival(hosts: readonly Room[], largest?: { bytes: number; host?: string }): Survival {
  const at = hosts.filter((h) => h.memory_allocated_bytes > 0)
  if (at.length === 0) return { answer: 'nothing' }
  if (hosts.filter((h) => h.state === 'up').length < 2) return { answer: 'one' }
  const all = hosts.reduce((sum, h) => sum + room(h), 0)
  const left = (h: Room) => all - room(h) - h.memory_allocated_bytes
  const short = at.filter((h) => left(h) < 0).map((host) => ({ host, missing: -left(host) }))
  if (short.length > 0) return { answer: 'no', short: short.sort((a, b) => b.missing - a.missing) }
  if (largest && !hosts.some((h) => h.id !== largest.host && room(h) >= largest.bytes)) {
    return { answer: 'large', bytes: largest.bytes }
  }
  const tightest = at.reduce((a, b) => (left(b) < left(a) ? b : a))
  return { answer: 'yes', tightest, left: left(tightest) }
}
