/** Exporting a VM that is off, or a snapshot of it: the format of its disks; the package is fetched from the VM's page. */
import { Checkbox, Form, type FormInstance, Select } from 'antd'
import { api } from '../api/client'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { useSnapshots } from '../snapshot/api'
import { FormDialog } from '../ui/FormDialog'
import type { Vm } from './api'
import { PlanView, usePlan } from './Plan'

const FORMATS = ['vmdk', 'vhd', 'qcow2'] as const

interface Values {
  snapshot?: string
  disk_format: (typeof FORMATS)[number]
  leave_out?: boolean
}

const bodyOf = (v: Values): Schemas['VmExportCreate'] => ({
  disk_format: v.disk_format,
  snapshot: v.snapshot || undefined,
  leave_out: v.leave_out === true,
})

export function ExportDialog({ vm, close }: { vm: Vm; close: () => void }) {
  const t = useT()
  return (
    <FormDialog<Values>
      title={`${t('vm.act.export')}: ${vm.name}`}
      ok={t('vm.act.export')}
      initial={{ disk_format: 'vmdk' }}
      close={close}
      submit={(v) => api.post('/v1/vms/{vm}/export', { path: { vm: vm.id }, body: bodyOf(v) })}
    >
      {(form) => <Fields vm={vm} form={form} />}
    </FormDialog>
  )
}

function Fields({ vm, form }: { vm: Vm; form: FormInstance<Values> }) {
  const t = useT()
  const snapshots = useSnapshots(vm.id).data ?? []
  const body = bodyOf((Form.useWatch([], form) as Values | undefined) ?? { disk_format: 'vmdk' })
  const plan = usePlan({ export: vm.id, ...body }, (signal) =>
    api.post('/v1/vms/{vm}/export', { path: { vm: vm.id }, query: { dry_run: true }, body, signal }),
  )
  const ready = snapshots.filter((s) => s.state === 'ready')
  return (
    <>
      <p>{t('vm.exportText')}</p>
      <Form.Item name="snapshot" label={t('vm.exportOf')} extra={t('vm.exportOfHelp')}>
        <Select allowClear placeholder={t('vm.exportNow')} options={ready.map((s) => ({ value: s.id, label: s.name }))} />
      </Form.Item>
      <Form.Item name="disk_format" label={t('vm.exportFormat')} extra={t('vm.exportFormatHelp')}>
        <Select options={FORMATS.map((f) => ({ value: f, label: f }))} />
      </Form.Item>
      <Form.Item name="leave_out" valuePropName="checked">
        <Checkbox>{t('vm.exportLeaveOut')}</Checkbox>
      </Form.Item>
      <PlanView plan={plan.data?.plan} error={plan.error} busy={plan.isFetching} />
    </>
  )
}
