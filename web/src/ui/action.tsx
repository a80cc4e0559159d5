/**
 * Actions: declared once for a noun, and shown in its Actions menu, its right-click menu and its bulk bar alike.
 * An action that cannot be done now stays in the menu and says why.
 */
import type { MenuProps } from 'antd'
import { createContext, type ReactNode, useContext } from 'react'
import { useCan } from '../api/rights'
import type { Privilege, Schemas } from '../api/schema'
import { type Key, type T, useT } from '../i18n'

export interface Named {
  id: string
  name?: string | null
}

/** What is asked before an action is done. */
export interface Confirm {
  /** What will be lost or stopped, and for whom. */
  text: string
  /** Data is lost: the name must be typed. */
  typeName?: boolean
  /** Things to choose, each off at first. */
  options?: { key: string; label: Key }[]
}

export type Choices = Record<string, boolean>
/** What came of it. */
export interface Done {
  task?: Schemas['Task'] | null
  undo?: () => Promise<unknown>
}

export interface Action<O extends Named> {
  id: string
  label: Key
  icon?: ReactNode
  danger?: boolean
  /** Items of one group stand together; groups are parted by a line. */
  group: number
  privilege?: Privilege
  /** A key that does it, without Ctrl, on a chosen row or on the object's page. */
  shortcut?: string
  /** Not for several at once. */
  single?: boolean
  /** Why it cannot be done with this object now. */
  refused?: (object: O) => Key | undefined
  confirm?: (objects: O[], t: T) => Confirm | undefined
  run?: (object: O, choices: Choices) => Promise<Done | undefined>
  /** What the manager says would happen to several: a reason for each that would be refused. */
  preview?: (objects: O[], choices: Choices) => Promise<Map<string, string>>
  /** Does it to several in one request; a reason for each that was refused. */
  runMany?: (objects: O[], choices: Choices) => Promise<Map<string, string>>
  /** A dialog of its own, instead of a question. */
  dialog?: (object: O, close: () => void) => ReactNode
  /** A page that does it. */
  to?: (object: O) => string
}

export type StartAction = <O extends Named>(action: Action<O>, objects: O[]) => void
export const ActionContext = createContext<StartAction>(() => {})
export const useStartAction = () => useContext(ActionContext)

/** Why an action cannot be done with any of these objects; none: it can be with some. */
export function useWhyNot() {
  const can = useCan()
  return <O extends Named>(action: Action<O>, objects: O[]): Key | undefined => {
    if (!can(action.privilege)) return 'ui.denied'
    const reasons = objects.map((o) => action.refused?.(o))
    return reasons.every((r) => r !== undefined) ? reasons[0] : undefined
  }
}

/** The items of a menu for these objects. */
export function useActionItems() {
  const t = useT()
  const whyNot = useWhyNot()
  const start = useStartAction()
  return <O extends Named>(actions: Action<O>[], objects: O[]): NonNullable<MenuProps['items']> => {
    const fitting = objects.length > 1 ? actions.filter((a) => !a.single && !a.dialog && !a.to) : actions
    return fitting.flatMap((action, i) => {
      const why = objects.length > 0 ? whyNot(action, objects) : undefined
      const line = i > 0 && fitting[i - 1]?.group !== action.group ? [{ type: 'divider' as const, key: `line-${action.id}` }] : []
      const item = {
        key: action.id,
        icon: action.icon && <span aria-hidden="true">{action.icon}</span>,
        danger: action.danger,
        disabled: why !== undefined,
        label: (
          <span className="row">
            <span className="grow">
              {t(action.label)}
              {why && <span className="menu-why">{t(why)}</span>}
            </span>
            {action.shortcut && <kbd>{action.shortcut.toUpperCase()}</kbd>}
          </span>
        ),
        onClick: () => start(action, objects),
      }
      return [...line, item]
    })
  }
}
