import { ScheduleOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'

export const schedule: Noun = {
  kind: 'schedule',
  icon: <ScheduleOutlined />,
  label: 'schedule.many',
  privilege: 'vm_edit',
  menu: { to: '/schedules', order: 45 },
  pages: [{ path: '/schedules', load: () => import('./ScheduleListPage') }],
}
