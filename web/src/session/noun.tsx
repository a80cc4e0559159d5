import { IdcardOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const session: Noun = {
  kind: 'session',
  icon: <IdcardOutlined />,
  label: 'session.account',
  pages: [{ path: '/account', load: () => import('./AccountPage') }],
}
