/** One task: what it does, how far it is, what came of it, and its parts. */
import { useParams } from '@tanstack/react-router'
import { Progress } from 'antd'
import { useMemo } from 'react'
import { term } from '../api/filter'
import { ApiError } from '../api/problem'
import { useT } from '../i18n'
import { dateTime, duration } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { ObjectLink } from '../ui/ObjectLink'
import { ObjectPage } from '../ui/ObjectPage'
import { Facts, Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import { taskActions } from './actions'
import { type Task, taskSource, useTask } from './api'
import { useTaskColumns } from './columns'
import { TASK_FIELDS } from './fields'
import { task as noun } from './noun'
import { share, TaskState } from './TaskState'

export default function TaskPage() {
  const t = useT()
  const { task: id = '' } = useParams({ strict: false }) as { task?: string }
  const { data: task, error, refetch } = useTask(id)
  const title = task ? `${t(`task.kind.${task.kind}`)} ${task.object.name ?? ''}` : t('task.one')
  return (
    <ObjectPage
      crumbs={[{ label: t('task.many'), to: '/tasks' }, { label: title }]}
      icon={noun.icon}
      title={title}
      state={task && <TaskState task={task} />}
      object={task}
      error={error}
      onRetry={() => void refetch()}
      actions={taskActions}
    >
      {task && <TaskBody task={task} />}
    </ObjectPage>
  )
}

function TaskBody({ task }: { task: Task }) {
  const t = useT()
  const columns = useTaskColumns()
  const source = useMemo(() => taskSource(term('parent', '=', task.id)), [task.id])
  const part = share(task)
  return (
    <div className="stack">
      {task.error && <ProblemAlert error={new ApiError(task.error)} />}
      {part !== undefined && <Progress percent={Math.round(part * 100)} aria-label={t('task.progress')} />}
      <Panel title={t('task.one')}>
        <Facts
          items={[
            [t('task.target'), <ObjectLink key="o" of={task.object} />],
            [t('task.message'), task.message],
            [t('task.step'), task.progress.step],
            [t('task.by'), task.requester?.name],
            [t('task.cause'), t(`task.cause.${task.cause}`)],
            [t('task.created'), dateTime(task.created_at)],
            [t('task.started'), task.started_at && dateTime(task.started_at)],
            [t('task.ended'), task.ended_at && dateTime(task.ended_at)],
            [t('task.took'), duration(task.started_at, task.ended_at)],
            [t('task.parent'), task.parent && <GoLink to={`/tasks/${task.parent}`}>{task.parent}</GoLink>],
          ]}
        />
      </Panel>
      {task.kind === 'vm_batch' && (
        <Panel title={t('task.children')}>
          <div style={{ height: 360, display: 'flex', flexDirection: 'column' }}>
            <ListView<Task>
              id="task-parts"
              label={t('task.children')}
              source={source}
              columns={columns}
              fields={TASK_FIELDS}
              example="state = failed"
              open={(r) => `/tasks/${r.id}`}
            />
          </div>
        </Panel>
      )}
    </div>
  )
}
