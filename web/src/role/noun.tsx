import { SafetyOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const role: Noun = {
  kind: 'role_binding',
  icon: <SafetyOutlined />,
  label: 'role.many',
  privilege: 'user_read',
  menu: { to: '/roles', order: 20, under: 'administration' },
  pages: [{ path: '/roles', load: () => import('./RolePage') }],
}
