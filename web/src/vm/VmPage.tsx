/** One VM, with a tab for each side of it. Each tab is loaded when it is opened. */
import { useParams } from '@tanstack/react-router'
import { Skeleton } from 'antd'
import { type ComponentType, lazy, Suspense } from 'react'
import { useT } from '../i18n'
import { ObjectPage, type Tab } from '../ui/ObjectPage'
import { vmActions } from './actions'
import { useVm, type Vm } from './api'
import { vm as noun } from './noun'
import { VmStateView } from './VmState'

const TABS: Tab[] = [
  { id: 'summary', label: 'vm.tab.summary' },
  { id: 'monitor', label: 'vm.tab.monitor' },
  { id: 'console', label: 'vm.tab.console' },
  { id: 'configure', label: 'vm.tab.configure' },
  { id: 'disks', label: 'vm.tab.disks' },
  { id: 'nics', label: 'vm.tab.nics' },
  { id: 'snapshots', label: 'vm.tab.snapshots' },
  { id: 'tasks', label: 'vm.tab.tasks' },
  { id: 'events', label: 'vm.tab.events' },
  { id: 'permissions', label: 'vm.tab.permissions' },
  { id: 'explain', label: 'vm.tab.explain' },
]

type Side = ComponentType<{ vm: Vm }>
const SIDES: Record<string, Side> = {
  summary: lazy(() => import('./SummaryTab')),
  monitor: lazy(() => import('./MonitorTab')),
  console: lazy(() => import('./console/ConsoleTab')),
  configure: lazy(() => import('./ConfigureTab')),
  disks: lazy(() => import('./disk/DisksTab')),
  nics: lazy(() => import('./nic/NicsTab')),
  snapshots: lazy(() => import('../snapshot/SnapshotsTab')),
  tasks: lazy(() => import('./TasksTab')),
  events: lazy(() => import('./EventsTab')),
  permissions: lazy(() => import('./PermissionsTab')),
  explain: lazy(() => import('./ExplainTab')),
}

export default function VmPage() {
  const t = useT()
  const { vm: name = '', tab = 'summary' } = useParams({ strict: false }) as { vm?: string; tab?: string }
  const { data: vm, error, refetch } = useVm(name)
  const Shown = SIDES[tab] ?? SIDES.summary
  return (
    <ObjectPage
      crumbs={[
        { label: t('vm.many'), to: '/vms' },
        ...(vm?.host ? [{ label: vm.host.name ?? '', to: `/hosts/${vm.host.id}` }] : []),
        { label: vm?.name ?? name },
      ]}
      icon={noun.icon}
      title={vm?.name ?? name}
      state={vm && <VmStateView vm={vm} />}
      object={vm}
      error={error}
      onRetry={() => void refetch()}
      actions={vmActions}
      buttons={['start', 'resume', 'shutdown']}
      tabs={TABS}
      tab={tab}
      tabPath={(id) => `/vms/${name}/${id}`}
    >
      <Suspense fallback={<Skeleton active />}>{vm && Shown && <Shown vm={vm} key={vm.id} />}</Suspense>
    </ObjectPage>
  )
}
