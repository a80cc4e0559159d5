/** Says when a task of one's own has failed, wherever one is by then. */
import { App } from 'antd'
import { useEffect } from 'react'
import { api } from '../api/client'
import { onTouched } from '../api/live'
import { ApiError } from '../api/problem'
import { useT } from '../i18n'
import { useSession } from '../session/api'
import { GoLink } from '../ui/Link'
import { ProblemText } from '../ui/ProblemAlert'

export function TaskNotices() {
  const t = useT()
  const { notification } = App.useApp()
  const me = useSession().data?.id
  useEffect(
    () =>
      onTouched(({ events }) => {
        const failed = events.filter((e) => e.kind === 'task.ended' && e.severity !== 'info' && e.task)
        // A broken host fails many at once: a few are told, all stand in the list.
        for (const e of failed.slice(0, 3)) void told(e.task ?? '')
      }),
    [me, t],
  )
  const told = async (id: string) => {
    const task = await api.get('/v1/tasks/{task}', { path: { task: id } }).catch(() => undefined)
    if (task?.state !== 'failed' || task.requester?.id !== me) return
    notification.error({
      key: task.id,
      title: t('task.mineFailed', { kind: t(`task.kind.${task.kind}`), name: task.object.name ?? '' }),
      description: (
        <>
          <div className="wrap">{task.error?.detail}</div>
          {task.error && <ProblemText error={new ApiError(task.error)} />}
          <GoLink to={`/tasks/${task.id}`}>{t('ui.showTask')}</GoLink>
        </>
      ),
      duration: 0,
      placement: 'bottomRight',
    })
  }
  return null
}
