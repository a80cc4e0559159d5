import { DesktopOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findVms } from './api'

export const vm: Noun = {
  kind: 'vm',
  icon: <DesktopOutlined />,
  label: 'vm.many',
  path: (id) => `/vms/${id}`,
  menu: { to: '/vms', order: 10 },
  find: findVms,
  commands: [{ label: 'vm.create', to: '/vms/new', privilege: 'vm_create' }],
  pages: [
    { path: '/vms', load: () => import('./VmListPage') },
    { path: '/vms/new', load: () => import('./create/CreatePage') },
    { path: '/vms/$vm', load: () => import('./VmPage') },
    { path: '/vms/$vm/$tab', load: () => import('./VmPage') },
  ],
}
