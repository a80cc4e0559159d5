/** What disturbs a VM: old news, drift, an error of its host, changes that wait. */
import { Alert } from 'antd'
import { ApiError } from '../api/problem'
import type { Problem } from '../api/schema'
import { useT } from '../i18n'
import { ProblemText } from '../ui/ProblemAlert'
import type { Vm } from './api'
import { ExportNotice } from './ExportNotice'

export function Notices({ vm }: { vm: Vm }) {
  const t = useT()
  const { drift, error, pending } = vm.observed
  return (
    <>
      {!vm.fresh && <Alert type="warning" showIcon title={t('vm.stale')} />}
      {!!drift?.length && (
        <Alert
          type="warning"
          showIcon
          title={t('vm.drift')}
          description={<Lines lines={drift.map((d) => d.message)} help={t('vm.driftHelp')} />}
        />
      )}
      <ExportNotice vm={vm} />
      {error && (
        <Alert
          type="error"
          showIcon
          title={`${t('vm.observedError')}: ${error.message}`}
          description={
            <ProblemText
              error={new ApiError({ ...error, detail: error.message, title: '', type: '', status: 0 } as unknown as Problem)}
            />
          }
        />
      )}
      {!!pending?.length && (
        <Alert type="info" showIcon title={t('vm.pending')} description={<Lines lines={pending} help={t('vm.pendingHelp')} />} />
      )}
    </>
  )
}

function Lines({ lines, help }: { lines: string[]; help: string }) {
  return (
    <>
      <ul className="notes">
        {lines.map((l) => (
          <li key={l}>{l}</li>
        ))}
      </ul>
      <span className="dim">{help}</span>
    </>
  )
}
