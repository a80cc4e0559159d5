/** The snapshots of a VM, as the API has them. */
import { useQuery } from '@tanstack/react-query'
import { api } from '../api/client'
import { queryClient } from '../api/query'
import type { Page, Schemas } from '../api/schema'

export type Snapshot = Schemas['Snapshot']
/** Far more than a VM may have. */
const ALL = 1000
const key = (vm: string) => ['vm', 'of', vm, 'snapshots']

/** Read again with each event about the VM. */
export const useSnapshots = (vm: string) =>
  useQuery({
    queryKey: key(vm),
    queryFn: async ({ signal }) =>
      ((await api.get('/v1/vms/{vm}/snapshots', { path: { vm }, query: { limit: ALL }, signal })) as Page<Snapshot>).items,
  })

export const reread = (vm: string) => queryClient.invalidateQueries({ queryKey: key(vm) })

export interface Branch {
  snapshot: Snapshot
  children: Branch[]
}

/** The snapshots as a tree; one whose parent is gone stands at the root. */
export function treeOf(snapshots: Snapshot[]): Branch[] {
  const branches = new Map(snapshots.map((s) => [s.id, { snapshot: s, children: [] as Branch[] }]))
  const roots: Branch[] = []
  for (const b of [...branches.values()].sort((x, y) => x.snapshot.created_at.localeCompare(y.snapshot.created_at))) {
    const parent = b.snapshot.parent ? branches.get(b.snapshot.parent) : undefined
    ;(parent?.children ?? roots).push(b)
  }
  return roots
}
