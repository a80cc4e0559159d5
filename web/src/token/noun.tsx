import { KeyOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const token: Noun = {
  kind: 'token',
  icon: <KeyOutlined />,
  label: 'token.many',
  menu: { to: '/tokens', order: 30, under: 'administration' },
  pages: [{ path: '/tokens', load: () => import('./TokenListPage') }],
}
