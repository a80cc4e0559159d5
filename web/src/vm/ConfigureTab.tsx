/** The hardware editor: what is changed, and for each part whether it applies now or after a restart. */
import { Alert, App, Button, Form, Input, InputNumber, Select } from 'antd'
import { useState } from 'react'
import { api } from '../api/client'
import { hasCode } from '../api/problem'
import { keys, queryClient } from '../api/query'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import type { Vm } from './api'
import { Notices } from './Notices'
import { PlanView, usePlan } from './Plan'
import { SizeField } from './SizeField'

interface Values {
  cpus: number
  cpus_max: number | null
  cores_per_socket: number | null
  memory_bytes: number
  memory_max_bytes: number | null
  cpu_mode: string
  cpu_model: string
  firmware: Schemas['Firmware']
  machine: string
  boot: Schemas['BootDevice'][]
}

const valuesOf = ({ spec }: Vm): Values => ({
  cpus: spec.cpu.count,
  cpus_max: spec.cpu.max || null,
  cores_per_socket: spec.cpu.cores_per_socket || null,
  memory_bytes: spec.memory.bytes,
  memory_max_bytes: spec.memory.max_bytes || null,
  cpu_mode: spec.cpu.mode?.mode ?? 'custom',
  cpu_model: spec.cpu.mode?.mode === 'custom' ? spec.cpu.mode.model : '',
  firmware: spec.firmware ?? 'bios',
  machine: spec.machine ?? '',
  boot: spec.boot ?? [],
})

/** Only what differs from what is there. */
export function changeOf(was: Values, is: Values): Schemas['VmUpdate'] {
  const change: Record<string, unknown> = {}
  for (const key of [
    'cpus',
    'cpus_max',
    'cores_per_socket',
    'memory_bytes',
    'memory_max_bytes',
    'firmware',
    'machine',
  ] as const) {
    if (is[key] !== was[key] && is[key] !== null && is[key] !== '') change[key] = is[key]
  }
  if (is.boot.join() !== was.boot.join()) change.boot = is.boot
  if (is.cpu_mode !== was.cpu_mode || is.cpu_model !== was.cpu_model) {
    change.cpu_mode = is.cpu_mode === 'custom' ? { mode: 'custom', model: is.cpu_model } : { mode: is.cpu_mode }
  }
  return change as Schemas['VmUpdate']
}

export default function ConfigureTab({ vm }: { vm: Vm }) {
  const t = useT()
  const { message } = App.useApp()
  const [base, setBase] = useState(vm)
  const was = valuesOf(base)
  const [is, setIs] = useState<Values>(was)
  const [form] = Form.useForm<Values>()
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const change = changeOf(was, is)
  const changed = Object.keys(change).length > 0
  const send = (dryRun: boolean, signal?: AbortSignal) =>
    api.patch('/v1/vms/{vm}', { path: { vm: vm.id }, query: { dry_run: dryRun }, body: change, ifMatch: base.generation, signal })
  const plan = usePlan([vm.id, base.generation, change], changed ? (signal) => send(true, signal) : undefined)
  const startOver = (from: Vm) => {
    setBase(from)
    setIs(valuesOf(from))
    form.setFieldsValue(valuesOf(from))
    setError(undefined)
  }
  const apply = async () => {
    setBusy(true)
    setError(undefined)
    try {
      await send(false)
      void message.success(t('vm.applied'))
      await queryClient.invalidateQueries({ queryKey: keys.one('vm', vm.id) })
      startOver(await api.get('/v1/vms/{vm}', { path: { vm: vm.id } }))
    } catch (e) {
      setError(e)
    } finally {
      setBusy(false)
    }
  }
  const stale = hasCode(error ?? plan.error, 'precondition_failed')
  return (
    <div className="form-with-summary">
      <div className="stack">
        <Notices vm={vm} />
        <Form form={form} layout="vertical" initialValues={was} onValuesChange={(_, all) => setIs({ ...is, ...all })}>
          <Panel title={t('vm.hardware')}>
            <Fields values={is} />
          </Panel>
        </Form>
      </div>
      <aside>
        <Panel title={t('vm.planTitle')}>
          <div className="stack">
            {!changed && <span className="dim">{t('vm.planHelp')}</span>}
            {changed && !stale && <PlanView plan={plan.data?.plan} error={plan.error} busy={plan.isFetching} />}
            {stale ? (
              <Alert
                type="warning"
                showIcon
                title={t('vm.somebodyElse')}
                action={
                  <Button size="small" onClick={() => startOver(vm)}>
                    {t('vm.reload')}
                  </Button>
                }
              />
            ) : (
              <ProblemAlert error={error} />
            )}
            <div className="row">
              <Button type="primary" disabled={!changed || !!plan.error} loading={busy} onClick={() => void apply()}>
                {t('vm.apply')}
              </Button>
              <Button disabled={!changed} onClick={() => startOver(vm)}>
                {t('vm.reset')}
              </Button>
            </div>
          </div>
        </Panel>
      </aside>
    </div>
  )
}

const BOOT: Schemas['BootDevice'][] = ['disk', 'cdrom', 'network']

function Fields({ values }: { values: Values }) {
  const t = useT()
  return (
    <div className="grid" style={{ columnGap: 24, rowGap: 0, gridTemplateColumns: 'repeat(auto-fit, minmax(240px, 1fr))' }}>
      <Form.Item name="cpus" label={t('vm.cpus')}>
        <InputNumber min={1} max={255} precision={0} />
      </Form.Item>
      <Form.Item name="cpus_max" label={t('vm.cpusMax')}>
        <InputNumber min={1} max={255} precision={0} />
      </Form.Item>
      <Form.Item name="memory_bytes" label={t('vm.memory')}>
        <SizeField label={t('vm.memory')} />
      </Form.Item>
      <Form.Item name="memory_max_bytes" label={t('vm.memoryMax')}>
        <SizeField label={t('vm.memoryMax')} />
      </Form.Item>
      <Form.Item name="cores_per_socket" label={t('vm.coresPerSocket')}>
        <InputNumber min={1} max={255} precision={0} />
      </Form.Item>
      <Form.Item name="cpu_mode" label={t('vm.cpuMode')}>
        <Select options={['custom', 'host-model', 'host-passthrough'].map((m) => ({ value: m, label: m }))} />
      </Form.Item>
      {values.cpu_mode === 'custom' && (
        <Form.Item name="cpu_model" label={t('vm.cpuModel')}>
          <Input spellCheck={false} />
        </Form.Item>
      )}
      <Form.Item name="firmware" label={t('vm.firmware')}>
        <Select options={(['bios', 'uefi'] as const).map((f) => ({ value: f, label: t(`vm.firmware.${f}`) }))} />
      </Form.Item>
      <Form.Item name="machine" label={t('vm.machine')}>
        <Input spellCheck={false} />
      </Form.Item>
      <Form.Item name="boot" label={t('vm.boot')}>
        <Select mode="multiple" options={BOOT.map((b) => ({ value: b, label: t(`vm.boot.${b}`) }))} />
      </Form.Item>
    </div>
  )
}
