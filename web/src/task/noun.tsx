import { ProfileOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findTasks } from './api'

export const task: Noun = {
  kind: 'task',
  icon: <ProfileOutlined />,
  label: 'task.many',
  path: (id) => `/tasks/${id}`,
  find: findTasks,
  menu: { to: '/tasks', order: 60 },
  pages: [
    { path: '/tasks', load: () => import('./TaskListPage') },
    { path: '/tasks/$task', load: () => import('./TaskPage') },
  ],
}
