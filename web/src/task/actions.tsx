/** What can be done with a task. */
import { StopOutlined } from '@ant-design/icons'
import type { Action } from '../ui/action'
import { cancelTask, isActive, type Task } from './api'

export const taskActions: Action<Task>[] = [
  {
    id: 'cancel',
    label: 'task.cancel',
    icon: <StopOutlined />,
    group: 1,
    refused: (task) => (!isActive(task) ? 'task.ended_already' : task.cancel_requested ? 'task.cancelAsked' : undefined),
    confirm: (_, t) => ({ text: t('task.cancelHelp') }),
    run: async (task) => {
      await cancelTask(task.id)
      return undefined
    },
  },
]
