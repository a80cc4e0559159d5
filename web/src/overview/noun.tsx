import { DashboardOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const overview: Noun = {
  kind: 'overview',
  icon: <DashboardOutlined />,
  label: 'overview.title',
  menu: { to: '/', order: 0 },
  pages: [{ path: '/', load: () => import('./OverviewPage') }],
}
