/** The newest tasks, always at hand at the bottom of the page. */
import { CaretDownOutlined, CaretUpOutlined, StopOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useState } from 'react'
import { useT } from '../i18n'
import { useStartAction } from '../ui/action'
import { GoLink } from '../ui/Link'
import { Tag } from '../ui/Status'
import { remember, remembered } from '../ui/urlState'
import { taskActions } from './actions'
import { isActive, mayCancel, type Task, useRecentTasks } from './api'
import { useTaskColumns } from './columns'

/** Time in which a failed task is still counted in the bar. */
const FRESH_MS = 3_600_000

export function TaskDrawer() {
  const t = useT()
  const [open, setOpen] = useState(() => remembered('tasks', false))
  const tasks = useRecentTasks().data?.items ?? []
  const running = tasks.filter(isActive).length
  const failed = tasks.filter((x) => x.state === 'failed' && Date.now() - new Date(x.created_at).getTime() < FRESH_MS).length
  const toggle = () => {
    setOpen(!open)
    remember('tasks', !open)
  }
  return (
    <section className="drawer" aria-label={t('task.recent')} data-testid="task-drawer">
      <div className="drawer-head">
        <button
          type="button"
          className="drawer-toggle"
          aria-expanded={open}
          title={t(open ? 'task.collapse' : 'task.expand')}
          onClick={toggle}
        >
          {open ? <CaretDownOutlined /> : <CaretUpOutlined />}
          {t('task.recent')}
        </button>
        {running > 0 && <Tag>{t('task.running', { count: running })}</Tag>}
        {failed > 0 && <Tag tone="bad">{t('task.failed', { count: failed })}</Tag>}
        {!open && tasks[0] && <Latest task={tasks[0]} />}
        <span className="grow" />
        <GoLink to="/tasks">{t('task.all')}</GoLink>
      </div>
      {open && <Table tasks={tasks} />}
    </section>
  )
}

function Latest({ task }: { task: Task }) {
  const t = useT()
  return (
    <span className="dim clip">
      {t(`task.kind.${task.kind}`)} {task.object.name} – {t(`task.state.${task.state}`)}
    </span>
  )
}

function Table({ tasks }: { tasks: Task[] }) {
  const t = useT()
  const columns = useTaskColumns(true).filter((c) => !c.optional)
  const start = useStartAction()
  const [cancel] = taskActions
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keys
    <div className="table-wrap" tabIndex={0}>
      <table className="data" aria-label={t('task.recent')}>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.id} scope="col" style={{ width: c.width }} className={c.numeric ? 'num' : undefined}>
                {c.header}
              </th>
            ))}
            <th scope="col" style={{ width: 44 }}>
              <span className="hidden">{t('ui.actions')}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {tasks.map((task) => (
            <tr key={task.id}>
              {columns.map((c) => (
                <td key={c.id} className={c.numeric ? 'num' : undefined}>
                  {c.cell(task)}
                </td>
              ))}
              <td>
                {mayCancel(task) && cancel && (
                  <Button
                    size="small"
                    type="text"
                    icon={<StopOutlined />}
                    aria-label={t('task.cancel')}
                    title={t('task.cancel')}
                    onClick={() => start(cancel, [task])}
                  />
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {tasks.length === 0 && <div className="empty">{t('task.none')}</div>}
    </div>
  )
}
