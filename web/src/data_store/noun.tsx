import { DatabaseOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findDataStores } from './api'

export const dataStore: Noun = {
  kind: 'data_store',
  icon: <DatabaseOutlined />,
  label: 'data_store.many',
  privilege: 'data_store_read',
  path: (id) => `/data-stores/${id}`,
  menu: { to: '/data-stores', order: 45 },
  find: findDataStores,
  pages: [
    { path: '/data-stores', load: () => import('./DataStoreListPage') },
    { path: '/data-stores/$dataStore', load: () => import('./DataStorePage') },
  ],
}
