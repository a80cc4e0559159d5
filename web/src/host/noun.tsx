import { HddOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findHosts } from './api'

export const host: Noun = {
  kind: 'host',
  icon: <HddOutlined />,
  label: 'host.many',
  privilege: 'host_read',
  path: (id) => `/hosts/${id}`,
  menu: { to: '/hosts', order: 20 },
  find: findHosts,
  commands: [{ label: 'host.add', to: '/hosts/new', privilege: 'host_manage' }],
  pages: [
    { path: '/hosts', load: () => import('./HostListPage') },
    { path: '/hosts/new', load: () => import('./HostAddPage') },
    { path: '/hosts/$host', load: () => import('./HostPage') },
    { path: '/hosts/$host/$tab', load: () => import('./HostPage') },
  ],
}
