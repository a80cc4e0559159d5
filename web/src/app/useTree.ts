/** The branches of the inventory tree: what is read when, and how events keep it fresh. */
import { type QueryClient, useQueries, useQuery, useQueryClient } from '@tanstack/react-query'
import { type Key as ReactKey, type ReactNode, useEffect, useMemo } from 'react'
import { all, term } from '../api/filter'
import { onTouched } from '../api/live'
import { useCan } from '../api/rights'
import { hostActions } from '../host/actions'
import { type Host, listHosts } from '../host/api'
import { hostTone } from '../host/HostState'
import { type T, useT } from '../i18n'
import { imageActions } from '../image/actions'
import { listImages } from '../image/api'
import { networkActions } from '../network/actions'
import { listNetworks } from '../network/api'
import type { Action, Named } from '../ui/action'
import { count } from '../ui/format'
import { iconOf } from '../ui/ObjectLink'
import type { Tone } from '../ui/Status'
import { vmActions } from '../vm/actions'
import { listVms, type Vm } from '../vm/api'
import { vmTone } from '../vm/VmState'

export interface TreeNode {
  key: string
  label: string
  hint?: string
  to?: string
  tone?: Tone
  icon?: ReactNode
  leaf?: boolean
  count?: number
  children?: TreeNode[]
  object?: Named
  actions?: Action<Named>[]
}

/** Objects of one branch; the API's largest page. What is more is in the list. */
const BRANCH_MAX = 1000
/** Shortest time between two readings of the branches after events. */
const REREAD_MS = 3_000

const rootKey = (view: string, text: string) => ['tree', view, text]
const branchKey = (host: string) => ['tree', 'host', host]

export function useTree(view: 'hosts' | 'library', text: string, expanded: ReactKey[]) {
  const t = useT()
  const can = useCan()
  const client = useQueryClient()
  const seesHosts = can('host_read')
  const root = useQuery({
    queryKey: [...rootKey(view, text), seesHosts],
    queryFn: ({ signal }) => (view === 'hosts' ? readHosts(text, signal, seesHosts) : readLibrary(text, signal)),
    placeholderData: (old) => old,
  })
  const open = expanded
    .map(String)
    .filter((k) => k.startsWith('host:'))
    .map((k) => k.slice(5))
  const branches = useQueries({ queries: open.map((id) => branchQuery(id)) })
  useRereading(client)
  const vmsOf = new Map(open.map((id, i) => [id, branches[i]?.data]))
  const nodes = useMemo(() => build(root.data, vmsOf, t), [root.data, t, ...branches.map((b) => b.data)])
  const find = (key: string): TreeNode | undefined => {
    for (const n of nodes) {
      const found = n.key === key ? n : n.children?.find((c) => c.key === key)
      if (found) return found
    }
    return undefined
  }
  const load = async (key: string) => {
    if (key.startsWith('host:')) await client.prefetchQuery(branchQuery(key.slice(5)))
  }
  return { nodes, load, find }
}

const branchQuery = (host: string) => ({
  queryKey: branchKey(host),
  queryFn: ({ signal }: { signal: AbortSignal }) =>
    listVms({ filter: term('host', '=', host), sort: 'name', limit: BRANCH_MAX, fields: TREE_FIELDS }, signal),
  staleTime: 30_000,
})
const TREE_FIELDS = 'name,observed,task,fresh,spec,host,labels,description,generation'

interface Root {
  hosts?: Host[]
  vms?: Vm[]
  library?: { kind: 'image' | 'network'; items: Named[]; actions: Action<Named>[] }[]
}

async function readHosts(text: string, signal: AbortSignal, seesHosts: boolean): Promise<Root> {
  const named = text ? term('name', '~', text) : undefined
  const hosts = seesHosts
    ? listHosts({ filter: named, sort: 'name', limit: BRANCH_MAX, fields: 'name,state,maintenance,vms,generation,facts' }, signal)
    : undefined
  // Those on no host, and when something is searched all that fit.
  const loose = seesHosts && !text ? term('host', '=', '') : undefined
  const vms = listVms({ filter: all([named, loose]), sort: 'name', limit: text ? 100 : BRANCH_MAX, fields: TREE_FIELDS }, signal)
  return { hosts: (await hosts)?.items ?? [], vms: (await vms.catch(() => undefined))?.items ?? [] }
}

async function readLibrary(text: string, signal: AbortSignal): Promise<Root> {
  const query = { filter: text ? term('name', '~', text) : undefined, sort: 'name', limit: BRANCH_MAX }
  const [images, networks] = await Promise.all([
    listImages(query, signal).catch(() => undefined),
    listNetworks(query, signal).catch(() => undefined),
  ])
  return {
    library: [
      { kind: 'image', items: images?.items ?? [], actions: imageActions as unknown as Action<Named>[] },
      { kind: 'network', items: networks?.items ?? [], actions: networkActions as unknown as Action<Named>[] },
    ],
  }
}

type Branch = Awaited<ReturnType<typeof listVms>>

function build(root: Root | undefined, vmsOf: Map<string, Branch | undefined>, t: T): TreeNode[] {
  if (root?.library) {
    return root.library.map(({ kind, items, actions }) => ({
      key: `folder:${kind}`,
      label: t(kind === 'image' ? 'image.many' : 'network.many'),
      icon: iconOf(kind),
      to: kind === 'image' ? '/images' : '/networks',
      count: items.length,
      leaf: items.length === 0,
      children: items.map((o) => ({
        key: `${kind}:${o.id}`,
        label: o.name ?? o.id,
        icon: iconOf(kind),
        to: `/${kind}s/${o.id}`,
        leaf: true,
        object: o,
        actions,
      })),
    }))
  }
  const hosts = (root?.hosts ?? []).map((h) => hostNode(h, vmsOf.get(h.id), t))
  return [...hosts, ...(root?.vms ?? []).map((v) => vmNode(v))]
}

function hostNode(h: Host, branch: Branch | undefined, t: T): TreeNode {
  const more: TreeNode[] = branch?.next_page
    ? [{ key: `more:${h.id}`, label: t('app.treeMore', { count: count(BRANCH_MAX) }), to: `/hosts/${h.id}/vms`, leaf: true }]
    : []
  return {
    key: `host:${h.id}`,
    label: h.name,
    hint: `${h.name}: ${t(`host.state.${h.maintenance && h.state === 'up' ? 'maintenance' : h.state}`)}`,
    tone: hostTone(h),
    to: `/hosts/${h.id}`,
    count: h.vms,
    leaf: h.vms === 0,
    children: branch && [...branch.items.map((v) => vmNode(v)), ...more],
    object: h,
    actions: hostActions as unknown as Action<Named>[],
  }
}

function vmNode(v: Vm): TreeNode {
  return {
    key: `vm:${v.id}`,
    label: v.name,
    tone: vmTone(v),
    to: `/vms/${v.id}`,
    leaf: true,
    object: v,
    actions: vmActions as unknown as Action<Named>[],
  }
}

/** Reads open branches again after events about hosts and VMs. */
function useRereading(client: QueryClient) {
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const stop = onTouched((touched) => {
      if (!touched.all && !['vm', 'host', 'image', 'network'].some((k) => touched.ids.has(k))) return
      timer ??= setTimeout(() => {
        timer = undefined
        void client.invalidateQueries({ queryKey: ['tree'] })
      }, REREAD_MS)
    })
    return () => {
      stop()
      clearTimeout(timer)
    }
  }, [client])
}
