/** One host. */
import { useParams } from '@tanstack/react-router'
import { Alert } from 'antd'
import { useMemo } from 'react'
import { api } from '../api/client'
import { eventsOf } from '../event/api'
import { EventList } from '../event/EventList'
import { useT } from '../i18n'
import { TaskList } from '../task/TaskList'
import { Monitor } from '../ui/Monitor'
import { ObjectPage, type Tab } from '../ui/ObjectPage'
import { within } from '../vm/api'
import { VmList } from '../vm/VmList'
import { hostActions } from './actions'
import { type Host, useHost } from './api'
import { HostStateView } from './HostState'
import { HostSummary } from './HostSummary'
import { host as noun } from './noun'

const TABS: Tab[] = [
  { id: 'summary', label: 'host.overview' },
  { id: 'monitor', label: 'host.monitor' },
  { id: 'vms', label: 'host.vms' },
  { id: 'tasks', label: 'host.tasks' },
  { id: 'events', label: 'host.events' },
]

export default function HostPage() {
  const t = useT()
  const { host: name = '', tab = 'summary' } = useParams({ strict: false }) as { host?: string; tab?: string }
  const { data: host, error, refetch } = useHost(name)
  return (
    <ObjectPage
      crumbs={[{ label: t('host.many'), to: '/hosts' }, { label: host?.name ?? name }]}
      icon={noun.icon}
      title={host?.name ?? name}
      state={host && <HostStateView host={host} />}
      object={host}
      error={error}
      onRetry={() => void refetch()}
      actions={hostActions}
      buttons={['maintenance-enter', 'maintenance-exit']}
      tabs={TABS}
      tab={tab}
      tabPath={(id) => `/hosts/${name}/${id}`}
    >
      {host && <Body host={host} tab={tab} />}
    </ObjectPage>
  )
}

function Body({ host, tab }: { host: Host; tab: string }) {
  const t = useT()
  const own = useMemo(() => ({ vms: within.host(host.id), events: eventsOf(host.id) }), [host.id])
  if (tab === 'monitor') {
    return (
      <Monitor
        kind="host"
        id={host.id}
        read={(signal) => api.get('/v1/hosts/{host}/stats', { path: { host: host.id }, signal })}
        memory={host.facts.memory_bytes ?? undefined}
      />
    )
  }
  const lists =
    tab === 'vms' ? (
      <VmList id="host-vms" within={own.vms} />
    ) : tab === 'tasks' ? (
      <TaskList object={host.id} />
    ) : tab === 'events' ? (
      <EventList id="host-events" within={own.events} />
    ) : null
  if (lists) return <div className="page">{lists}</div>
  return (
    <div className="stack">
      {host.state === 'silent' && <Alert type="warning" showIcon title={t('host.silent')} description={t('host.silentText')} />}
      <HostSummary host={host} />
    </div>
  )
}
