import { TeamOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findUsers } from './api'

export const user: Noun = {
  kind: 'user',
  icon: <TeamOutlined />,
  label: 'user.many',
  privilege: 'user_read',
  path: (id) => `/users/${id}`,
  menu: { to: '/users', order: 10, under: 'administration' },
  find: findUsers,
  pages: [
    { path: '/users', load: () => import('./UserListPage') },
    { path: '/users/$user', load: () => import('./UserPage') },
  ],
}
