/** What can be done with a host. */
import { DeleteOutlined, EditOutlined, ToolOutlined } from '@ant-design/icons'
import { lazy } from 'react'
import { api } from '../api/client'
import type { Action } from '../ui/action'
import { type Host, updateHost } from './api'

// Loaded when they are opened.
const RenameDialog = lazy(() => import('../ui/RenameDialog').then((m) => ({ default: m.RenameDialog })))

const names = (hosts: Host[]) => hosts.map((h) => h.name).join(', ')

/** Sets maintenance whatever the generation: it is a switch, and the last one wins. */
async function setMaintenance(host: Host, maintenance: boolean) {
  await api.patch('/v1/hosts/{host}', { path: { host: host.id }, body: { maintenance } })
  return { undo: () => api.patch('/v1/hosts/{host}', { path: { host: host.id }, body: { maintenance: !maintenance } }) }
}

export const hostActions: Action<Host>[] = [
  {
    id: 'maintenance-enter',
    label: 'host.maintenanceEnter',
    icon: <ToolOutlined />,
    group: 1,
    privilege: 'host_manage',
    shortcut: 'm',
    refused: (h) => (h.maintenance ? 'host.not.inMaintenance' : undefined),
    confirm: (hosts, t) => ({
      text: t('host.maintenanceText', { names: names(hosts), count: hosts.reduce((n, h) => n + h.vms, 0) }),
    }),
    run: (h) => setMaintenance(h, true),
  },
  {
    id: 'maintenance-exit',
    label: 'host.maintenanceExit',
    group: 1,
    privilege: 'host_manage',
    refused: (h) => (h.maintenance ? undefined : 'host.not.noMaintenance'),
    run: (h) => setMaintenance(h, false),
  },
  {
    id: 'rename',
    label: 'ui.rename',
    icon: <EditOutlined />,
    group: 2,
    privilege: 'host_manage',
    single: true,
    dialog: (h, close) => <RenameDialog name={h.name} rename={(name) => updateHost(h, { name })} close={close} />,
  },
  {
    id: 'delete',
    label: 'host.delete',
    icon: <DeleteOutlined />,
    group: 3,
    danger: true,
    privilege: 'host_manage',
    refused: (h) => (h.vms > 0 ? 'host.not.hasVms' : undefined),
    confirm: (hosts, t) => ({ text: t('host.deleteText', { names: names(hosts) }), typeName: true }),
    run: async (h) => {
      await api.delete('/v1/hosts/{host}', { path: { host: h.id } })
      return undefined
    },
  },
]
