/** The first page: how much there is, whether all is well, and what somebody should look at. */
import { useT } from '../i18n'
import { useSystem } from '../system/api'
import { count, percent, size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ObjectLink } from '../ui/ObjectLink'
import { Page } from '../ui/Page'
import { Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import { Bar } from '../ui/Status'
import { Attention } from './Attention'
import { capacity, useCounts, useHosts } from './api'
import { FirstSteps } from './FirstSteps'
import { LatestTrouble } from './LatestTrouble'

const BUSIEST = 6

export default function OverviewPage() {
  const t = useT()
  const system = useSystem()
  const hosts = useHosts()
  const counts = useCounts()
  const s = system.data
  return (
    <Page title={t('overview.title')}>
      <div className="stack">
        <ProblemAlert error={system.error ?? hosts.error ?? counts.error} onRetry={() => void system.refetch()} />
        {s && counts.data && (s.vms === 0 || s.hosts === 0) && (
          <FirstSteps hosts={s.hosts} images={counts.data.images} vms={s.vms} />
        )}
        {s && (
          <div className="figures">
            <Figure
              to="/hosts"
              value={t('overview.of', { part: count(s.hosts_up), all: count(s.hosts) })}
              label={t('overview.hostsUp')}
            />
            <Figure
              to="/vms?filter=state = running"
              value={t('overview.of', { part: count(s.vms_running), all: count(s.vms) })}
              label={t('overview.vmsRunning')}
            />
            <Figure to="/tasks?filter=state in (queued, running)" value={count(s.tasks_active)} label={t('overview.tasks')} />
            {hosts.data && <Shares hosts={hosts.data} />}
          </div>
        )}
        <div className="grid">
          <Attention hosts={hosts.data ?? []} counts={counts.data} />
          {!!hosts.data?.length && <Busiest hosts={hosts.data} />}
          <LatestTrouble />
        </div>
      </div>
    </Page>
  )
}

function Figure({ to, value, label, share }: { to: string; value: string; label: string; share?: number }) {
  return (
    <GoLink to={to} className="figure">
      <b>{value}</b>
      <span>{label}</span>
      {share !== undefined && <Bar share={share} label={`${label}: ${value}`} />}
    </GoLink>
  )
}

function Shares({ hosts }: { hosts: NonNullable<ReturnType<typeof useHosts>['data']> }) {
  const t = useT()
  const c = capacity(hosts)
  const used = c.storage - c.free
  const part = (a: number, b: number) => (b > 0 ? a / b : 0)
  return (
    <>
      <Figure to="/hosts" value={percent(c.cpu)} label={t('overview.cpu')} share={c.cpu} />
      <Figure
        to="/hosts"
        value={percent(part(c.promised, c.memory))}
        label={`${t('overview.memory')}: ${t('overview.of', { part: size(c.promised), all: size(c.memory) })}`}
        share={part(c.promised, c.memory)}
      />
      <Figure
        to="/hosts"
        value={percent(part(used, c.storage))}
        label={`${t('overview.storage')}: ${t('overview.of', { part: size(used), all: size(c.storage) })}`}
        share={part(used, c.storage)}
      />
    </>
  )
}

function Busiest({ hosts }: { hosts: NonNullable<ReturnType<typeof useHosts>['data']> }) {
  const t = useT()
  const busiest = [...hosts].sort((a, b) => (b.stats?.cpu ?? 0) - (a.stats?.cpu ?? 0)).slice(0, BUSIEST)
  return (
    <Panel title={t('overview.busiest')}>
      <div className="stack" style={{ gap: 6 }}>
        {busiest.map((h) => (
          <div className="row" key={h.id}>
            <span className="grow">
              <ObjectLink of={{ kind: 'host', id: h.id, name: h.name }} />
            </span>
            <span style={{ width: 90 }}>
              <Bar share={h.stats?.cpu ?? 0} label={`${h.name}: ${percent(h.stats?.cpu)}`} />
            </span>
            <span className="num" style={{ width: 44 }}>
              {percent(h.stats?.cpu)}
            </span>
          </div>
        ))}
      </div>
    </Panel>
  )
}
