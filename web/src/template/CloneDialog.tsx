/** Making VMs from a template or a VM, and a template of a VM. */
import { Checkbox, Form, Input, InputNumber, Radio, Select } from 'antd'
import { api } from '../api/client'
import { findDataStores } from '../data_store/api'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import { NameField } from '../ui/NameField'
import { ObjectSelect } from '../ui/ObjectSelect'
import type { CloneCreate } from './api'

interface Props {
  title: string
  /** The source is a linked clone, which can be cloned in two more ways. */
  linked: boolean
  send: (body: CloneCreate) => Promise<unknown>
  close: () => void
}

interface Values {
  name: string
  count: number
  kind: NonNullable<CloneCreate['kind']>
  three: boolean
  start: boolean
  host_name?: string
  user_data?: string
  data_store?: string
}

/** Most clones of one request, as the manager has it. */
const COUNT_MAX = 500

export function CloneDialog({ title, linked, send, close }: Props) {
  const t = useT()
  const kinds = (linked ? (['full', 'linked', 'normal', 'fresh'] as const) : (['full', 'linked'] as const)).map((value) => ({
    value,
    label: t(`template.kind.${value}`),
  }))
  const submit = (v: Values) =>
    send({
      name: v.name,
      count: v.count,
      kind: v.kind,
      form: v.three && v.kind === 'linked' ? 'three_level' : undefined,
      start: v.start,
      cloud_init:
        v.host_name || v.user_data ? { host_name: v.host_name || undefined, user_data: v.user_data || undefined } : undefined,
      data_store: v.kind === 'full' ? v.data_store : undefined,
    })
  return (
    <FormDialog<Values>
      title={title}
      ok={t('template.clone')}
      initial={{ count: 1, kind: 'full', three: false, start: false }}
      close={close}
      submit={submit}
      width={560}
    >
      <Form.Item
        name="name"
        label={t('template.cloneName')}
        extra={t('template.cloneNameHelp')}
        rules={[{ required: true, message: t('ui.needed') }]}
      >
        <Input autoFocus autoComplete="off" spellCheck={false} />
      </Form.Item>
      <Form.Item name="count" label={t('template.count')}>
        <InputNumber min={1} max={COUNT_MAX} />
      </Form.Item>
      <Form.Item name="kind" label={t('template.kind')} extra={t('template.kindHelp')}>
        <Select options={kinds} />
      </Form.Item>
      <Form.Item noStyle shouldUpdate>
        {(form) => (
          <Form.Item name="three" valuePropName="checked">
            <Checkbox disabled={form.getFieldValue('kind') !== 'linked'}>{t('template.three')}</Checkbox>
          </Form.Item>
        )}
      </Form.Item>
      <Form.Item noStyle shouldUpdate>
        {(form) => form.getFieldValue('kind') === 'full' && <StoreField />}
      </Form.Item>
      <Form.Item name="host_name" label={t('template.hostName')} extra={t('template.hostNameHelp')}>
        <Input autoComplete="off" spellCheck={false} />
      </Form.Item>
      <Form.Item name="user_data" label={t('template.userData')} extra={t('template.userDataHelp')}>
        <Input.TextArea autoSize={{ minRows: 2, maxRows: 8 }} spellCheck={false} />
      </Form.Item>
      <Form.Item name="start" valuePropName="checked">
        <Checkbox>{t('template.start')}</Checkbox>
      </Form.Item>
    </FormDialog>
  )
}

/** Where the copies of disks lie. */
function StoreField() {
  const t = useT()
  return (
    <Form.Item name="data_store" label={t('template.dataStore')}>
      <ObjectSelect
        kind="data_store"
        find={findDataStores}
        by="id"
        allowClear
        placeholder={t('template.anyStore')}
        label={t('template.dataStore')}
      />
    </Form.Item>
  )
}

interface Made {
  name: string
  convert: boolean
  data_store?: string
}

export function MakeTemplate({ vm, off, close }: { vm: { id: string; name: string }; off: boolean; close: () => void }) {
  const t = useT()
  const submit = (v: Made) =>
    api.post('/v1/templates', {
      body: { vm: vm.id, name: v.name, convert: v.convert, data_store: v.convert ? undefined : v.data_store },
    })
  return (
    <FormDialog<Made>
      title={`${t('template.make')}: ${vm.name}`}
      ok={t('template.make')}
      initial={{ convert: false }}
      close={close}
      submit={submit}
    >
      <NameField label={t('template.name')} autoFocus />
      <Form.Item name="convert" extra={off ? undefined : t('template.not.off')}>
        <Radio.Group>
          <div className="stack">
            <Radio value={false}>{t('template.makeCopy')}</Radio>
            <Radio value={true} disabled={!off}>
              {t('template.makeConvert')}
            </Radio>
          </div>
        </Radio.Group>
      </Form.Item>
      <Form.Item noStyle shouldUpdate>
        {(form) => !form.getFieldValue('convert') && <StoreField />}
      </Form.Item>
    </FormDialog>
  )
}
