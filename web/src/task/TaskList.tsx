/** The tasks on one object. */
import { useMemo } from 'react'
import { useT } from '../i18n'
import { ListView } from '../ui/ListView'
import { taskActions } from './actions'
import { type Task, taskSource, tasksOf } from './api'
import { useTaskColumns } from './columns'
import { TASK_FIELDS } from './fields'

export function TaskList({ object }: { object: string }) {
  const t = useT()
  const columns = useTaskColumns()
  const source = useMemo(() => taskSource(tasksOf(object)), [object])
  return (
    <ListView<Task>
      id="object-tasks"
      label={t('task.many')}
      source={source}
      columns={columns.filter((c) => c.id !== 'object')}
      fields={TASK_FIELDS}
      example="state = failed"
      actions={taskActions}
      open={(r) => `/tasks/${r.id}`}
      empty={t('task.none')}
    />
  )
}
