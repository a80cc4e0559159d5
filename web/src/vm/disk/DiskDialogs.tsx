/** Attaching and changing disks, with what each change will do. */
import { Form, Select } from 'antd'
import { api } from '../../api/client'
import type { Schemas } from '../../api/schema'
import { useT } from '../../i18n'
import { findImages } from '../../image/api'
import { FormDialog } from '../../ui/FormDialog'
import { GiB } from '../../ui/format'
import { ObjectSelect } from '../../ui/ObjectSelect'
import type { Vm } from '../api'
import { PlanView, usePlan } from '../Plan'
import { SizeField } from '../SizeField'

const BUSES: Schemas['DiskBus'][] = ['virtio', 'scsi', 'ide', 'usb']
const CACHES: Schemas['DiskCache'][] = ['directsync', 'none', 'writeback', 'writethrough']
const options = (words: readonly string[]) => words.map((w) => ({ value: w, label: w }))

interface Attach {
  size_bytes?: number | null
  image?: string
  bus: Schemas['DiskBus']
  cache: Schemas['DiskCache']
}

export function AttachDisk({ vm, close }: { vm: Vm; close: () => void }) {
  const t = useT()
  const send = (v: Attach, dryRun: boolean, signal?: AbortSignal) =>
    api.post('/v1/vms/{vm}/disks', { path: { vm: vm.id }, query: { dry_run: dryRun }, body: v, signal })
  return (
    <FormDialog<Attach>
      title={`${t('vm.diskAttach')}: ${vm.name}`}
      ok={t('vm.diskAttach')}
      initial={{ size_bytes: 20 * GiB, bus: 'virtio', cache: 'directsync' }}
      close={close}
      submit={(v) => send(v, false)}
    >
      <Form.Item name="size_bytes" label={t('vm.size')}>
        <SizeField label={t('vm.size')} />
      </Form.Item>
      <Form.Item name="image" label={t('vm.image')}>
        <ObjectSelect kind="image" find={findImages} by="name" allowClear />
      </Form.Item>
      <BusAndCache />
      <Ahead<Attach> ask={(v, signal) => send(v, true, signal)} />
    </FormDialog>
  )
}

type Edit = Pick<Schemas['DiskUpdate'], 'size_bytes' | 'bus' | 'cache'>

export function EditDisk({ vm, disk, close }: { vm: Vm; disk: Schemas['DiskSpec']; close: () => void }) {
  const t = useT()
  const was: Edit = { size_bytes: disk.size_bytes, bus: disk.bus, cache: disk.cache }
  const changed = (v: Edit) => Object.fromEntries(Object.entries(v).filter(([k, value]) => value !== was[k as keyof Edit]))
  const send = (v: Edit, dryRun: boolean, signal?: AbortSignal) =>
    api.patch('/v1/vms/{vm}/disks/{disk}', {
      path: { vm: vm.id, disk: disk.id },
      query: { dry_run: dryRun },
      body: changed(v),
      signal,
    })
  return (
    <FormDialog<Edit>
      title={`${t('vm.diskEdit')}: ${vm.name}`}
      ok={t('ui.save')}
      initial={was}
      close={close}
      submit={(v) => send(v, false)}
    >
      <Form.Item name="size_bytes" label={t('vm.size')} extra={t('vm.diskGrow')}>
        <SizeField label={t('vm.size')} min={disk.size_bytes} />
      </Form.Item>
      <BusAndCache />
      <Ahead<Edit> ask={(v, signal) => send(v, true, signal)} wanted={(v) => Object.keys(changed(v)).length > 0} />
    </FormDialog>
  )
}

function BusAndCache() {
  const t = useT()
  return (
    <>
      <Form.Item name="bus" label={t('vm.bus')}>
        <Select options={options(BUSES)} />
      </Form.Item>
      <Form.Item name="cache" label={t('vm.cache')} extra={t('vm.cacheHelp')}>
        <Select options={options(CACHES)} />
      </Form.Item>
    </>
  )
}

interface AheadProps<V> {
  ask: (values: V, signal: AbortSignal) => Promise<Schemas['Accepted']>
  wanted?: (values: V) => boolean
}

/** What the values of the form around it would do. */
export function Ahead<V extends object>({ ask, wanted }: AheadProps<V>) {
  const form = Form.useFormInstance<V>()
  const values = Form.useWatch([], form) as V | undefined
  const asked = values && (wanted?.(values) ?? true)
  const plan = usePlan(values, asked ? (signal) => ask(values, signal) : undefined)
  return asked ? <PlanView plan={plan.data?.plan} error={plan.error} busy={plan.isFetching} /> : null
}
