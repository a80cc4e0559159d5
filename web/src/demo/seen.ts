/** What Virga knows of the machines: its hosts by name, and the sums that the figures show. */
import { useQuery } from '@tanstack/react-query'
import type { ListQuery, Page } from '../api/schema'
import { type Host, listHosts } from '../host/api'
import { listVms } from '../vm/api'

export interface Seen {
  hosts: ReadonlyMap<string, Host>
  silent?: number
  unknown?: number
  drift?: number
}

const EVERY_MS = 3_000
const PAGE_MAX = 1000

async function read(signal: AbortSignal): Promise<Seen> {
  const hosts = new Map<string, Host>()
  let next: string | undefined
  do {
    const query: ListQuery = { limit: PAGE_MAX, page_token: next, fields: 'name,state,maintenance,vms' }
    const page: Page<Host> = await listHosts(query, signal)
    for (const h of page.items) hosts.set(h.name, h)
    next = page.next_page ?? undefined
  } while (next)
  const vms = async (filter: string) => (await listVms({ filter, limit: 1, total: true, fields: 'id' }, signal)).total ?? 0
  const [unknown, drift] = await Promise.all([vms('state = unknown'), vms('drift = true')])
  return { hosts, silent: [...hosts.values()].filter((h) => h.state === 'silent').length, unknown, drift }
}

export function useSeen(): Seen {
  const seen = useQuery({ queryKey: ['host', 'of', 'demo'], queryFn: ({ signal }) => read(signal), refetchInterval: EVERY_MS })
  return seen.data ?? { hosts: new Map() }
}
