/** How far a task is. */
import { Progress } from 'antd'
import { useT } from '../i18n'
import { Status, type Tone } from '../ui/Status'
import { isActive, type Task } from './api'

const TONES: Record<Task['state'], Tone> = { queued: 'off', running: 'busy', succeeded: 'good', failed: 'bad', cancelled: 'warn' }

/** The share that is done; none while nothing is known. */
export function share(task: Task): number | undefined {
  const { done, total } = task.progress
  return isActive(task) && total > 0 ? Math.min(1, done / total) : undefined
}

export function TaskState({ task }: { task: Task }) {
  const t = useT()
  const part = share(task)
  const word = task.cancel_requested && isActive(task) ? t('task.cancelling') : t(`task.state.${task.state}`)
  if (part === undefined || task.state === 'queued') return <Status tone={TONES[task.state]}>{word}</Status>
  return (
    <span className="row" title={`${word} ${task.progress.step}`}>
      <Progress percent={Math.round(part * 100)} size="small" style={{ margin: 0, minWidth: 90 }} aria-label={word} />
    </span>
  )
}
