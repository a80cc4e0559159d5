import { ThunderboltOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const demo: Noun = {
  kind: 'demo',
  icon: <ThunderboltOutlined />,
  label: 'demo.many',
  privilege: 'host_manage',
  capability: 'demo-fleet',
  menu: { to: '/demo', order: 60, under: 'administration' },
  pages: [{ path: '/demo', load: () => import('./DemoPage') }],
}
