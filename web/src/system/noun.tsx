import { SettingOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const system: Noun = {
  kind: 'system',
  icon: <SettingOutlined />,
  label: 'system.many',
  menu: { to: '/system', order: 50, under: 'administration' },
  pages: [{ path: '/system', load: () => import('./SystemPage') }],
}
