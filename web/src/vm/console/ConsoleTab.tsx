/** The console of a VM: its screen, and its serial line. Each is loaded when it is opened. */
import { Button, Segmented, Skeleton } from 'antd'
import { lazy, Suspense } from 'react'
import { useT } from '../../i18n'
import { useStartAction } from '../../ui/action'
import { useUrlState } from '../../ui/urlState'
import { vmActions } from '../actions'
import { stateOf, type Vm } from '../api'

const Screen = lazy(() => import('./Screen'))
const Serial = lazy(() => import('./Serial'))

export default function ConsoleTab({ vm }: { vm: Vm }) {
  const t = useT()
  const start = useStartAction()
  const [search, setSearch] = useUrlState()
  const kind = search.kind === 'serial' ? 'serial' : 'vnc'
  const runs = stateOf(vm) === 'running' || stateOf(vm) === 'paused'
  const action = vmActions.find((a) => a.id === 'start')
  if (!runs) {
    return (
      <div className="empty">
        <p>{t('vm.consoleNotRunning')}</p>
        {action && (
          <Button type="primary" disabled={!!action.refused?.(vm)} onClick={() => start(action, [vm])}>
            {t('vm.consoleStart')}
          </Button>
        )}
      </div>
    )
  }
  const choose = (
    <Segmented
      aria-label={t('vm.tab.console')}
      value={kind}
      onChange={(k) => setSearch({ kind: k === 'serial' ? 'serial' : undefined })}
      options={[
        { value: 'vnc', label: t('vm.consoleVnc') },
        { value: 'serial', label: t('vm.consoleSerial') },
      ]}
    />
  )
  return (
    <Suspense fallback={<Skeleton active />}>
      {kind === 'vnc' ? <Screen vm={vm} before={choose} key="vnc" /> : <Serial vm={vm} before={choose} key="serial" />}
    </Suspense>
  )
}
