/**
 * The simulated fleet of a demo (`crates/manager/src/demo.rs`). It is no part of the API and its document: there only when
 * the manager says so among its abilities, and its shapes are those of the fleet's control socket
 * (`crates/sim/src/fleet/protocol.rs`).
 */
import { useQuery } from '@tanstack/react-query'
import { changeHeaders } from '../api/client'
import { problemOf, unreachable } from '../api/problem'
import { queryClient } from '../api/query'

/** What can be done to machines: the verb, and the states that it sets; the first is the healthy one. */
export const SWITCHES = {
  power: ['on', 'off'],
  network: ['heal', 'cut', 'one_way'],
  storage: ['ok', 'full', 'error'],
  agent: ['start', 'kill'],
  libvirt: ['ok', 'down', 'hang'],
} as const
export type Verb = keyof typeof SWITCHES
export type Target = 'all' | { rack: string } | { hosts: string[] }

/** A machine, as it truly is. */
export interface Machine {
  name: string
  rack: string
  power: 'on' | 'off'
  agent: boolean
  network: 'heal' | 'cut' | 'one_way'
  storage: 'ok' | 'full' | 'error'
  libvirt: 'ok' | 'down' | 'hang'
  vms: number
  running: number
}

const PATH = '/demo/fleet'
const KEY = ['demo', 'machines']
/** How often machines are looked at while they are seen. */
const EVERY_MS = 2_000

async function send<T>(method: 'get' | 'post', body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers = changeHeaders(method)
  if (body !== undefined) headers.set('content-type', 'application/json')
  const answer = await fetch(PATH, {
    method: method.toUpperCase(),
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    credentials: 'same-origin',
  }).catch((e: unknown) => {
    if (signal?.aborted) throw e
    throw unreachable()
  })
  if (!answer.ok) throw await problemOf(answer)
  return (await answer.json()) as T
}

export function useMachines() {
  return useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => (await send<{ hosts: Machine[] }>('get', undefined, signal)).hosts,
    refetchInterval: EVERY_MS,
  })
}

/** Sets something of machines; answers with how many they were. */
export async function set(verb: Verb, target: Target, state: string): Promise<number> {
  const { hosts } = await send<{ hosts: string[] }>('post', { verb, target, state })
  await queryClient.invalidateQueries({ queryKey: KEY })
  return hosts.length
}

/** Something happens in a guest. */
export const guest = (vm: string, event: 'crash' | 'shutdown') => send('post', { verb: 'guest', vm, event })

/** What of a machine is not as it should be. */
export function faults(m: Machine): [Verb, string][] {
  const now: Record<Verb, string> = { ...m, agent: m.agent || m.power === 'off' ? 'start' : 'kill' }
  return (Object.keys(SWITCHES) as Verb[]).filter((v) => now[v] !== SWITCHES[v][0]).map((v) => [v, now[v]])
}

/** The machines of each rack. */
export function racks(machines: Machine[]): [string, Machine[]][] {
  const found = new Map<string, Machine[]>()
  for (const m of machines) found.set(m.rack, [...(found.get(m.rack) ?? []), m])
  return [...found].sort(([a], [b]) => a.localeCompare(b))
}
