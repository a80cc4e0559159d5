import { AuditOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const audit: Noun = {
  kind: 'audit',
  icon: <AuditOutlined />,
  label: 'audit.many',
  privilege: 'audit_read',
  menu: { to: '/audit', order: 40, under: 'administration' },
  pages: [{ path: '/audit', load: () => import('./AuditListPage') }],
}
