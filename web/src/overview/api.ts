/** What the overview adds up from hosts, VMs and tasks. */
import { useQuery } from '@tanstack/react-query'
import { useCan } from '../api/rights'
import { type Host, listHosts } from '../host/api'
import { listImages } from '../image/api'
import { listTasks } from '../task/api'
import { listVms } from '../vm/api'

/** Hosts of one question; an installation has at most 1,024. */
const PAGE_MAX = 1000
const EVERY_MS = 15_000

async function allHosts(signal: AbortSignal): Promise<Host[]> {
  const hosts: Host[] = []
  let next: string | undefined
  do {
    const page = await listHosts(
      { limit: PAGE_MAX, page_token: next, fields: 'name,state,maintenance,facts,stats,memory_allocated_bytes,vms' },
      signal,
    )
    hosts.push(...page.items)
    next = page.next_page ?? undefined
  } while (next)
  return hosts
}

export function useHosts() {
  const can = useCan()
  return useQuery({
    queryKey: ['host', 'of', 'overview'],
    queryFn: ({ signal }) => allHosts(signal),
    refetchInterval: EVERY_MS,
    staleTime: 5_000,
    enabled: can('host_read'),
  })
}

const total = async (page: Promise<{ total?: number | null }>) => (await page).total ?? 0

export interface Counts {
  drift: number
  crashed: number
  unknown: number
  failed: number
  images: number
}

/** Midnight of yesterday is near enough for "of late", and does not change the question each second. */
export const lately = () => new Date(Date.now() - 86_400_000).toISOString().slice(0, 13).concat(':00:00Z')

export const failedFilter = () => `state = failed and created_at >= ${lately()}`

export function useCounts() {
  return useQuery({
    queryKey: ['vm', 'of', 'overview'],
    refetchInterval: EVERY_MS,
    staleTime: 5_000,
    queryFn: async ({ signal }): Promise<Counts> => {
      const vms = (filter: string) => total(listVms({ filter, limit: 1, total: true, fields: 'id' }, signal))
      const [drift, crashed, unknown, failed, images] = await Promise.all([
        vms('drift = true'),
        vms('state = crashed'),
        vms('state = unknown'),
        total(listTasks({ filter: failedFilter(), limit: 1, total: true, fields: 'id' }, signal)),
        total(listImages({ limit: 1, total: true, fields: 'id' }, signal)).catch(() => 0),
      ])
      return { drift, crashed, unknown, failed, images }
    },
  })
}

/** The sums over all hosts. */
export function capacity(hosts: Host[]) {
  const sum = (pick: (h: Host) => number | null | undefined) => hosts.reduce((n, h) => n + (pick(h) ?? 0), 0)
  const threads = sum((h) => h.facts.cpu?.logical)
  return {
    threads,
    cpu: threads ? sum((h) => (h.stats?.cpu ?? 0) * (h.facts.cpu?.logical ?? 0)) / threads : 0,
    memory: sum((h) => h.facts.memory_bytes),
    promised: sum((h) => h.memory_allocated_bytes),
    storage: sum((h) => h.facts.store_total_bytes),
    free: sum((h) => h.facts.store_free_bytes),
  }
}
