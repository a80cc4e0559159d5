/** The frame of an object's page: where it is, what it is, what can be done, and its tabs. */
import { DownOutlined } from '@ant-design/icons'
import { Button, Dropdown, Skeleton } from 'antd'
import { type ReactNode, useEffect } from 'react'
import { hasCode } from '../api/problem'
import { type Key, useT } from '../i18n'
import { type Action, type Named, useActionItems, useStartAction, useWhyNot } from './action'
import { GoLink } from './Link'
import { ProblemAlert } from './ProblemAlert'

export interface Crumb {
  label: string
  to?: string
}
export interface Tab {
  id: string
  label: Key
}

interface Props<O extends Named> {
  crumbs: Crumb[]
  icon: ReactNode
  title: string
  state?: ReactNode
  object?: O
  error: unknown
  onRetry?: () => void
  actions?: Action<O>[]
  /** Actions that stand as buttons before the menu. */
  buttons?: string[]
  tabs?: Tab[]
  tab?: string
  tabPath?: (tab: string) => string
  children?: ReactNode
}

export function ObjectPage<O extends Named>(p: Props<O>) {
  const t = useT()
  useEffect(() => {
    document.title = `${p.title} – Virga`
  }, [p.title])
  useKeys(p.actions, p.object)
  return (
    <div className="page">
      <div className="page-head">
        <Crumbs crumbs={p.crumbs} />
        <div className="row wide">
          <span aria-hidden="true" style={{ fontSize: 18, color: 'var(--dim)' }}>
            {p.icon}
          </span>
          <h1 className="clip" title={p.title}>
            {p.title}
          </h1>
          {p.state}
          <span className="grow" />
          {p.object && p.actions && <ObjectActions actions={p.actions} buttons={p.buttons ?? []} object={p.object} />}
        </div>
        {p.tabs && (
          <nav className="tabs" aria-label={p.title}>
            {p.tabs.map((tab) => (
              <GoLink key={tab.id} to={p.tabPath?.(tab.id) ?? ''} aria-current={tab.id === p.tab ? 'page' : undefined}>
                {t(tab.label)}
              </GoLink>
            ))}
          </nav>
        )}
      </div>
      <div className="page-body">
        {hasCode(p.error, 'not_found') ? <NotHere /> : <ProblemAlert error={p.error} onRetry={p.onRetry} />}
        {!p.object && !p.error && <Skeleton active />}
        {p.object && p.children}
      </div>
    </div>
  )
}

export function NotHere() {
  const t = useT()
  return (
    <div className="empty">
      <h2>{t('ui.notFoundTitle')}</h2>
      <p>{t('ui.notFoundText')}</p>
    </div>
  )
}

export function Crumbs({ crumbs }: { crumbs: Crumb[] }) {
  return (
    <nav aria-label={crumbs.at(-1)?.label}>
      <ol className="crumbs">
        {crumbs.map((c) => (
          <li key={`${c.to} ${c.label}`} className="clip">
            {c.to ? <GoLink to={c.to}>{c.label}</GoLink> : c.label}
          </li>
        ))}
      </ol>
    </nav>
  )
}

function ObjectActions<O extends Named>({ actions, buttons, object }: { actions: Action<O>[]; buttons: string[]; object: O }) {
  const t = useT()
  const items = useActionItems()
  const whyNot = useWhyNot()
  const start = useStartAction()
  const shown = buttons.flatMap((id) => actions.filter((a) => a.id === id && !whyNot(a, [object])))
  return (
    <div className="row tight">
      {shown.map((a) => (
        <Button key={a.id} icon={a.icon && <span aria-hidden="true">{a.icon}</span>} onClick={() => start(a, [object])}>
          {t(a.label)}
        </Button>
      ))}
      <Dropdown trigger={['click']} menu={{ items: items(actions, [object]) }} placement="bottomRight">
        <Button type="primary" icon={<DownOutlined aria-hidden />} iconPlacement="end" data-testid="actions">
          {t('ui.actions')}
        </Button>
      </Dropdown>
    </div>
  )
}

/** The keys of the actions, when no field is being typed in and nothing lies over the page. */
function useKeys<O extends Named>(actions?: Action<O>[], object?: O) {
  const whyNot = useWhyNot()
  const start = useStartAction()
  useEffect(() => {
    if (!actions || !object) return
    const press = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return
      if (
        (e.target as HTMLElement).closest(
          'input,textarea,select,[contenteditable],[role=dialog],[role=menu],canvas,.xterm,.table-wrap',
        )
      )
        return
      const action = actions.find((a) => a.shortcut === e.key.toLowerCase())
      if (!action || whyNot(action, [object])) return
      e.preventDefault()
      start(action, [object])
    }
    window.addEventListener('keydown', press)
    return () => window.removeEventListener('keydown', press)
  })
}
