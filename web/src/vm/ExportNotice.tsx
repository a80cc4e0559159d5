/** The export that the VM's host keeps ready: its size, the way to fetch it, and the way to be rid of it. */
import { useQuery } from '@tanstack/react-query'
import { Alert, Button } from 'antd'
import { useState } from 'react'
import { api, urlOf } from '../api/client'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { size } from '../ui/format'
import { ProblemAlert } from '../ui/ProblemAlert'
import type { Vm } from './api'

export function ExportNotice({ vm }: { vm: Vm }) {
  const can = useCan()
  const wanted = vm.spec.export
  // While its task works, the task says how far it is.
  if (!wanted || vm.observed.exported?.id !== wanted.id || !can('vm_edit')) return null
  return <Ready vm={vm} />
}

function Ready({ vm }: { vm: Vm }) {
  const t = useT()
  const [error, setError] = useState<unknown>()
  const found = useQuery({
    queryKey: ['vm', 'of', vm.id, 'export', vm.generation],
    queryFn: ({ signal }) => api.get('/v1/vms/{vm}/export', { path: { vm: vm.id }, signal }),
    retry: false,
  })
  const made = found.data
  if (!made) return null
  const ready = made.state === 'ready'
  const remove = () => api.delete('/v1/vms/{vm}/export', { path: { vm: vm.id } }).catch(setError)
  return (
    <>
      <Alert
        type={ready ? 'info' : 'warning'}
        showIcon
        title={ready ? t('vm.exportReady', { format: made.disk_format, size: size(made.size_bytes ?? 0) }) : made.reason}
        action={
          <div className="row">
            {ready && (
              <Button size="small" href={urlOf('/v1/vms/{vm}/export/content', { vm: vm.id })}>
                {t('vm.exportTake')}
              </Button>
            )}
            <Button size="small" onClick={() => void remove()}>
              {t('vm.exportRemove')}
            </Button>
          </div>
        }
      />
      <ProblemAlert error={error} />
    </>
  )
}
