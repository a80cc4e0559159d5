/** Attaching and changing disks, with what each change will do. */
import { Checkbox, Form, Input, InputNumber, Select } from 'antd'
import { api } from '../../api/client'
import type { Schemas } from '../../api/schema'
import { useT } from '../../i18n'
import { findImages } from '../../image/api'
import { FormDialog } from '../../ui/FormDialog'
import { GiB, MiB } from '../../ui/format'
import { ObjectSelect } from '../../ui/ObjectSelect'
import type { Vm } from '../api'
import { PlanView, usePlan } from '../Plan'
import { SizeField } from '../SizeField'

const BUSES: Schemas['DiskBus'][] = ['virtio', 'scsi', 'ide', 'usb']
const CACHES: Schemas['DiskCache'][] = ['directsync', 'none', 'writeback', 'writethrough']
const MODES: Schemas['DiskMode'][] = ['dependent', 'independent_persistent', 'independent_nonpersistent']
const PROVISIONINGS: Schemas['Provisioning'][] = ['thin', 'thick_lazy', 'thick_eager']
const FORMATS: Schemas['DiskFormat'][] = ['qcow2', 'raw']
const DISCARDS: Schemas['Discard'][] = ['off', 'unmap']
const options = (words: readonly string[]) => words.map((w) => ({ value: w, label: w }))

interface Attach {
  size_bytes?: number | null
  image?: string
  bus: Schemas['DiskBus']
  cache: Schemas['DiskCache']
  mode: Schemas['DiskMode']
  provisioning: Schemas['Provisioning']
  format?: Schemas['DiskFormat']
  discard: Schemas['Discard']
  shared?: boolean
  existing?: string
  iops?: number | null
  rate_mib?: number | null
}

type Limited = Pick<Attach, 'iops' | 'rate_mib'>

/** The limits that the two fields of the form say; others of the disk stay. */
const limits = (v: Limited, was?: Schemas['DiskLimits']): Schemas['DiskLimits'] => ({
  ...was,
  iops: v.iops ?? undefined,
  bytes_per_s: v.rate_mib ? v.rate_mib * MiB : undefined,
})

export function AttachDisk({ vm, close }: { vm: Vm; close: () => void }) {
  const t = useT()
  const send = ({ iops, rate_mib, shared, existing, ...disk }: Attach, dryRun: boolean, signal?: AbortSignal) => {
    const bound = existing?.trim()
    const made: Schemas['DiskCreate'] = shared
      ? { ...disk, mode: 'independent_persistent', sharing: 'shared' }
      : { ...disk, sharing: 'ordinary' }
    return api.post('/v1/vms/{vm}/disks', {
      path: { vm: vm.id },
      query: { dry_run: dryRun },
      body: { ...(bound ? { existing: bound, bus: disk.bus, cache: disk.cache } : made), limits: limits({ iops, rate_mib }) },
      signal,
    })
  }
  return (
    <FormDialog<Attach>
      title={`${t('vm.diskAttach')}: ${vm.name}`}
      ok={t('vm.diskAttach')}
      initial={{
        size_bytes: 20 * GiB,
        bus: 'virtio',
        cache: 'directsync',
        mode: 'dependent',
        provisioning: 'thin',
        discard: 'off',
      }}
      close={close}
      submit={(v) => send(v, false)}
    >
      <Form.Item name="size_bytes" label={t('vm.size')}>
        <SizeField label={t('vm.size')} />
      </Form.Item>
      <Form.Item name="image" label={t('vm.image')}>
        <ObjectSelect kind="image" find={findImages} by="name" allowClear />
      </Form.Item>
      <Form.Item name="provisioning" label={t('vm.diskProvisioning')} extra={t('vm.diskProvisioningHelp')}>
        <Select options={options(PROVISIONINGS)} />
      </Form.Item>
      <Form.Item name="format" label={t('vm.diskFormat')} extra={t('vm.diskFormatHelp')}>
        <Select options={options(FORMATS)} allowClear />
      </Form.Item>
      <Form.Item name="shared" valuePropName="checked" extra={t('vm.diskSharedHelp')}>
        <Checkbox>{t('vm.diskShared')}</Checkbox>
      </Form.Item>
      <Form.Item name="existing" label={t('vm.diskExisting')} extra={t('vm.diskExistingHelp')}>
        <Input />
      </Form.Item>
      <BusAndCache />
      <LimitFields />
      <Ahead<Attach> ask={(v, signal) => send(v, true, signal)} />
    </FormDialog>
  )
}

type Edit = Pick<Schemas['DiskUpdate'], 'size_bytes' | 'bus' | 'cache' | 'mode' | 'discard'> & Limited

export function EditDisk({ vm, disk, close }: { vm: Vm; disk: Schemas['DiskSpec']; close: () => void }) {
  const t = useT()
  const was: Edit = {
    size_bytes: disk.size_bytes,
    bus: disk.bus,
    cache: disk.cache,
    mode: disk.mode,
    discard: disk.discard,
    iops: disk.limits?.iops,
    rate_mib: disk.limits?.bytes_per_s ? disk.limits.bytes_per_s / MiB : undefined,
  }
  const changed = (v: Edit): Schemas['DiskUpdate'] => {
    const differs = (k: keyof Edit) => (v[k] ?? undefined) !== (was[k] ?? undefined)
    const { iops: _iops, rate_mib: _rate, ...plain } = v
    const out: Schemas['DiskUpdate'] = Object.fromEntries(Object.entries(plain).filter(([k]) => differs(k as keyof Edit)))
    return differs('iops') || differs('rate_mib') ? { ...out, limits: limits(v, disk.limits) } : out
  }
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
      <LimitFields />
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
      <Form.Item name="mode" label={t('vm.diskMode')} extra={t('vm.diskModeHelp')}>
        <Select options={options(MODES)} />
      </Form.Item>
      <Form.Item name="discard" label={t('vm.diskDiscard')} extra={t('vm.diskDiscardHelp')}>
        <Select options={options(DISCARDS)} />
      </Form.Item>
    </>
  )
}

function LimitFields() {
  const t = useT()
  return (
    <>
      <Form.Item name="iops" label={t('vm.diskIops')} extra={t('vm.diskLimitHelp')}>
        <InputNumber min={10} precision={0} />
      </Form.Item>
      <Form.Item name="rate_mib" label={t('vm.diskRate')}>
        <InputNumber min={1} precision={0} suffix="MiB/s" />
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
