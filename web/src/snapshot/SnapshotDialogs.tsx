/** Taking a snapshot, and giving one another name or note. */
import { Form, Input, Segmented } from 'antd'
import { api } from '../api/client'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import { NameField } from '../ui/NameField'
import type { Vm } from '../vm/api'
import { reread, type Snapshot } from './api'

type Take = { name: string; note?: string; kind: Schemas['SnapshotKind'] }

export function TakeSnapshot({ vm, close }: { vm: Vm; close: () => void }) {
  const t = useT()
  const submit = async (v: Take) => {
    await api.post('/v1/vms/{vm}/snapshots', { path: { vm: vm.id }, body: { name: v.name, kind: v.kind, note: v.note ?? '' } })
    await reread(vm.id)
  }
  const kinds = (['ordinary', 'consistent', 'memory'] as const).map((k) => ({ value: k, label: t(`snapshot.kind.${k}`) }))
  return (
    <FormDialog<Take>
      title={`${t('snapshot.take')}: ${vm.name}`}
      ok={t('snapshot.take')}
      initial={{ kind: 'ordinary' }}
      close={close}
      submit={submit}
    >
      <NameField label={t('snapshot.name')} autoFocus />
      <Form.Item name="note" label={t('snapshot.note')}>
        <Input.TextArea rows={2} />
      </Form.Item>
      <Form.Item name="kind" label={t('snapshot.kind')} extra={t('snapshot.kindHelp')}>
        <Segmented options={kinds} />
      </Form.Item>
    </FormDialog>
  )
}

export function EditSnapshot({ snapshot: s, close }: { snapshot: Snapshot; close: () => void }) {
  const t = useT()
  const submit = async (v: { name: string; note?: string }) => {
    await api.patch('/v1/vms/{vm}/snapshots/{snapshot}', {
      path: { vm: s.vm.id, snapshot: s.id },
      body: { name: v.name, note: v.note ?? '' },
      ifMatch: s.generation,
    })
    await reread(s.vm.id)
  }
  return (
    <FormDialog
      title={`${t('snapshot.edit')}: ${s.name}`}
      ok={t('ui.save')}
      initial={{ name: s.name, note: s.note }}
      close={close}
      submit={submit}
    >
      <NameField label={t('snapshot.name')} autoFocus />
      <Form.Item name="note" label={t('snapshot.note')}>
        <Input.TextArea rows={2} />
      </Form.Item>
    </FormDialog>
  )
}
