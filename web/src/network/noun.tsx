import { ClusterOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findNetworks } from './api'

export const network: Noun = {
  kind: 'network',
  icon: <ClusterOutlined />,
  label: 'network.many',
  privilege: 'network_read',
  path: (id) => `/networks/${id}`,
  menu: { to: '/networks', order: 40 },
  find: findNetworks,
  pages: [
    { path: '/networks', load: () => import('./NetworkListPage') },
    { path: '/networks/$network', load: () => import('./NetworkPage') },
  ],
}
