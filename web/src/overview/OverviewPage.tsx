/** The first page: how much there is, whether all is well, and what somebody should look at. */
import { useT } from '../i18n'
import { useSystem } from '../system/api'
import { count, percent, size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { Page } from '../ui/Page'
import { ProblemAlert } from '../ui/ProblemAlert'
import { Bar } from '../ui/Status'
import { Attention } from './Attention'
import { capacity, useCounts, useHosts } from './api'
import { Busiest } from './Busiest'
import { FirstSteps } from './FirstSteps'
import { LatestTrouble } from './LatestTrouble'
import { Survive } from './Survive'

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
          {!!hosts.data?.length && <Survive hosts={hosts.data} />}
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
