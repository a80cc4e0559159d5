/** The columns of a list of tasks. */
import { useMemo } from 'react'
import { useT } from '../i18n'
import type { Column } from '../ui/DataTable'
import { dateTime, duration } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ObjectLink } from '../ui/ObjectLink'
import { Time } from '../ui/Panel'
import type { Task } from './api'
import { TaskState } from './TaskState'

/** What a task says: its error, else its message, else its step. */
export const saying = (task: Task) => task.error?.detail || task.message || task.progress.step

export function useTaskColumns(short?: boolean): Column<Task>[] {
  const t = useT()
  return useMemo(
    () => [
      {
        id: 'kind',
        header: t('task.what'),
        width: 170,
        cell: (r) => <GoLink to={`/tasks/${r.id}`}>{t(`task.kind.${r.kind}`)}</GoLink>,
        csv: (r) => r.kind,
      },
      {
        id: 'object',
        header: t('task.target'),
        width: 200,
        cell: (r) => <ObjectLink of={r.object} />,
        csv: (r) => r.object.name ?? r.object.id,
      },
      { id: 'state', header: t('task.state'), width: 150, cell: (r) => <TaskState task={r} />, csv: (r) => r.state },
      { id: 'message', header: t('task.message'), cell: (r) => <span title={saying(r)}>{saying(r)}</span>, csv: saying },
      {
        id: 'by',
        header: t('task.by'),
        width: 110,
        cell: (r) => r.requester?.name ?? t(`task.cause.${r.cause}`),
        csv: (r) => r.requester?.name ?? r.cause,
      },
      {
        id: 'created',
        header: t('task.created'),
        width: 130,
        sort: short ? undefined : 'created_at',
        cell: (r) => <Time at={r.created_at} />,
        csv: (r) => r.created_at,
      },
      {
        id: 'took',
        header: t('task.took'),
        width: 90,
        numeric: true,
        cell: (r) => duration(r.started_at, r.ended_at),
        csv: (r) => duration(r.started_at, r.ended_at),
      },
      {
        id: 'ended',
        header: t('task.ended'),
        width: 170,
        optional: true,
        sort: 'ended_at',
        cell: (r) => dateTime(r.ended_at),
        csv: (r) => r.ended_at,
      },
    ],
    [t, short],
  )
}
