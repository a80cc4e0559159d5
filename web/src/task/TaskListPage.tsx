/** All tasks. */
import { useMemo } from 'react'
import { useT } from '../i18n'
import { ListView } from '../ui/ListView'
import { Page } from '../ui/Page'
import { taskActions } from './actions'
import { type Task, taskSource } from './api'
import { useTaskColumns } from './columns'
import { TASK_FIELDS } from './fields'

export default function TaskListPage() {
  const t = useT()
  const columns = useTaskColumns()
  const source = useMemo(() => taskSource(), [])
  return (
    <Page title={t('task.many')} flush>
      <ListView<Task>
        id="tasks"
        label={t('task.many')}
        source={source}
        columns={columns}
        fields={TASK_FIELDS}
        example="state = failed and cause = user"
        actions={taskActions}
        open={(r) => `/tasks/${r.id}`}
        empty={t('task.none')}
      />
    </Page>
  )
}
