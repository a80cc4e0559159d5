/** Does actions: asks where that is due, shows what will happen to each object, does it, and says what came of it. */
import { App, Button } from 'antd'
import { type ReactNode, Suspense, useCallback, useState } from 'react'
import { ApiError } from '../api/problem'
import { useT } from '../i18n'
import { ActionDialog } from './ActionDialog'
import { type Action, ActionContext, type Choices, type Named, type StartAction } from './action'
import { GoLink, useGo } from './Link'
import { ProblemText } from './ProblemAlert'

interface Asked {
  action: Action<Named>
  objects: Named[]
}

export function ActionHost({ children }: { children: ReactNode }) {
  const [asked, setAsked] = useState<Asked>()
  const t = useT()
  const go = useGo()
  const perform = usePerform()
  const start: StartAction = useCallback(
    (given, objects) => {
      const action = given as unknown as Action<Named>
      const [first] = objects
      if (!first) return
      if (action.to) return go(action.to(first))
      const asks = action.dialog || objects.length > 1 || action.confirm?.(objects, t)
      if (asks) setAsked({ action, objects })
      else void perform(action, first, {})
    },
    [go, perform, t],
  )
  const close = () => setAsked(undefined)
  const [first] = asked?.objects ?? []
  return (
    <ActionContext.Provider value={start}>
      {children}
      <Suspense fallback={null}>{asked?.action.dialog && first && asked.action.dialog(first, close)}</Suspense>
      {asked && !asked.action.dialog && <ActionDialog {...asked} close={close} perform={perform} />}
    </ActionContext.Provider>
  )
}

export type Perform = (action: Action<Named>, object: Named, choices: Choices) => Promise<unknown>

/** Does an action to one object, and says so; answers with the error, if there was one. */
function usePerform(): Perform {
  const t = useT()
  const { notification } = App.useApp()
  return useCallback(
    async (action, object, choices) => {
      const name = object.name ?? object.id
      const key = `${action.id}-${object.id}`
      try {
        const done = await action.run?.(object, choices)
        notification.success({
          key,
          title: t('ui.started', { action: t(action.label), name }),
          // What can be taken back stays long enough for that.
          duration: done?.undo ? 12 : 4,
          placement: 'bottomRight',
          description: done?.task && <GoLink to={`/tasks/${done.task.id}`}>{t('ui.showTask')}</GoLink>,
          actions: done?.undo && (
            <Button
              size="small"
              onClick={() => {
                notification.destroy(key)
                void done
                  .undo?.()
                  .catch((e: unknown) => notification.error({ title: said(e), description: <ProblemText error={e} /> }))
              }}
            >
              {t('ui.undo')}
            </Button>
          ),
        })
        return undefined
      } catch (e) {
        notification.error({
          key,
          title: `${t('ui.started', { action: t(action.label), name })}: ${said(e)}`,
          description: <ProblemText error={e} />,
          duration: 0,
          placement: 'bottomRight',
        })
        return e
      }
    },
    [notification, t],
  )
}

/** An error in one sentence. */
export function said(e: unknown): string {
  if (e instanceof ApiError) return e.problem.detail || e.problem.title
  return e instanceof Error ? e.message : String(e)
}
