/** What can be done with a data store. */
import { DeleteOutlined, EditOutlined, ToolOutlined } from '@ant-design/icons'
import { lazy } from 'react'
import { api } from '../api/client'
import type { Action } from '../ui/action'
import { type DataStore, updateDataStore } from './api'

// Loaded when it is opened.
const RenameDialog = lazy(() => import('../ui/RenameDialog').then((m) => ({ default: m.RenameDialog })))

const names = (stores: DataStore[]) => stores.map((s) => s.name).join(', ')

/** Sets maintenance whatever the generation: it is a switch, and the last one wins. */
async function setMaintenance(store: DataStore, maintenance: boolean) {
  await updateDataStore(store, { maintenance })
  return { undo: () => updateDataStore(store, { maintenance: !maintenance }) }
}

export const dataStoreActions: Action<DataStore>[] = [
  {
    id: 'maintenance-enter',
    label: 'data_store.maintenanceEnter',
    icon: <ToolOutlined />,
    group: 1,
    privilege: 'data_store_manage',
    refused: (s) => (s.maintenance ? 'data_store.not.inMaintenance' : undefined),
    confirm: (stores, t) => ({ text: t('data_store.maintenanceText', { names: names(stores) }) }),
    run: (s) => setMaintenance(s, true),
  },
  {
    id: 'maintenance-exit',
    label: 'data_store.maintenanceExit',
    group: 1,
    privilege: 'data_store_manage',
    refused: (s) => (s.maintenance ? undefined : 'data_store.not.noMaintenance'),
    run: (s) => setMaintenance(s, false),
  },
  {
    id: 'rename',
    label: 'ui.rename',
    icon: <EditOutlined />,
    group: 2,
    privilege: 'data_store_manage',
    single: true,
    refused: (s) => (s.host ? 'data_store.not.local' : undefined),
    dialog: (s, close) => <RenameDialog name={s.name} rename={(name) => updateDataStore(s, { name })} close={close} />,
  },
  {
    id: 'delete',
    label: 'data_store.delete',
    icon: <DeleteOutlined />,
    group: 3,
    danger: true,
    privilege: 'data_store_manage',
    refused: (s) => {
      if (s.host) return 'data_store.not.local'
      if (s.state !== 'ready') return 'data_store.not.deleting'
      return s.vms > 0 ? 'data_store.not.hasVms' : undefined
    },
    confirm: (stores, t) => ({ text: t('data_store.deleteText', { names: names(stores) }), typeName: true }),
    run: async (s) => api.delete('/v1/data-stores/{data_store}', { path: { data_store: s.id } }),
  },
]
