/** The top consumers: the busiest hosts, and the busiest VMs on them. */
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { quoted } from '../api/filter'
import type { Host } from '../host/api'
import { useT } from '../i18n'
import { percent } from '../ui/format'
import { ObjectLink } from '../ui/ObjectLink'
import { Panel } from '../ui/Panel'
import { Bar } from '../ui/Status'
import { listVms, type Vm } from '../vm/api'

const SHOWN = 6
/** Hosts whose VMs are looked at: rates are in the manager's memory, so it cannot sort by them. */
const HOSTS_ASKED = 3
const PAGE_MAX = 1000
const EVERY_MS = 15_000

const used = (vm: Vm) => (vm.stats?.cpu ?? 0) * vm.spec.cpu.count

function useBusiestVms(hosts: Host[]) {
  const names = hosts.map((h) => quoted(h.name)).join(', ')
  return useQuery({
    queryKey: ['vm', 'of', 'busiest', names],
    enabled: hosts.length > 0,
    refetchInterval: EVERY_MS,
    placeholderData: keepPreviousData,
    queryFn: async ({ signal }) => {
      const query = { filter: `host in (${names}) and state = running`, limit: PAGE_MAX, fields: 'name,spec,stats,host' }
      const { items } = await listVms(query, signal)
      return items.sort((a, b) => used(b) - used(a)).slice(0, SHOWN)
    },
  })
}

export function Busiest({ hosts }: { hosts: Host[] }) {
  const t = useT()
  const busiest = [...hosts].sort((a, b) => (b.stats?.cpu ?? 0) - (a.stats?.cpu ?? 0))
  const vms = useBusiestVms(busiest.slice(0, HOSTS_ASKED)).data ?? []
  return (
    <>
      <Panel title={t('overview.busiest')}>
        <Lines of={busiest.slice(0, SHOWN).map((h) => ({ kind: 'host', id: h.id, name: h.name, share: h.stats?.cpu ?? 0 }))} />
      </Panel>
      {vms.length > 0 && (
        <Panel title={t('overview.busiestVms')}>
          <Lines
            of={vms.map((v) => ({ kind: 'vm', id: v.id, name: v.name, share: v.stats?.cpu ?? 0, cpus: v.spec.cpu.count }))}
          />
        </Panel>
      )}
    </>
  )
}

interface Line {
  kind: string
  id: string
  name: string
  share: number
  cpus?: number
}

function Lines({ of }: { of: Line[] }) {
  const t = useT()
  return (
    <div className="stack" style={{ gap: 6 }}>
      {of.map((l) => (
        <div className="row" key={l.id}>
          <span className="grow">
            <ObjectLink of={l} />
          </span>
          {l.cpus !== undefined && (
            <span className="dim">
              {l.cpus} {t('vm.cpus')}
            </span>
          )}
          <span style={{ width: 90 }}>
            <Bar share={l.share} label={`${l.name}: ${percent(l.share)}`} />
          </span>
          <span className="num" style={{ width: 44 }}>
            {percent(l.share)}
          </span>
        </div>
      ))}
    </div>
  )
}
