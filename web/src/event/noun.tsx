import { BellOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const event: Noun = {
  kind: 'event',
  icon: <BellOutlined />,
  label: 'event.many',
  menu: { to: '/events', order: 70 },
  pages: [{ path: '/events', load: () => import('./EventListPage') }],
}
