import { SafetyOutlined } from '@ant-design/icons'
import { api } from '../api/client'
import type { Noun } from '../app/noun'

export const role: Noun = {
  kind: 'role_binding',
  icon: <SafetyOutlined />,
  label: 'role.many',
  privilege: 'user_read',
  find: async (text, signal) => {
    const roles = await api.get('/v1/roles', { signal })
    const named = roles.filter((r) => r.role.includes(text.toLowerCase()))
    return named.map((r) => ({ id: r.role, name: r.role, to: '/roles?show=roles' }))
  },
  menu: { to: '/roles', order: 20, under: 'administration' },
  pages: [{ path: '/roles', load: () => import('./RolePage') }],
}
