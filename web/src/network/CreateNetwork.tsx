/** Making a network. */
import { Form, Input, InputNumber, Segmented } from 'antd'
import { api } from '../api/client'
import { keys, queryClient } from '../api/query'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import { NameField } from '../ui/NameField'

interface Values {
  name: string
  kind: 'nat' | 'ovs'
  cidr?: string
  bridge?: string
  uplink?: string
  vlan?: number
}

function specOf(v: Values): Schemas['NetworkSpec'] {
  if (v.kind === 'nat') return { kind: 'nat', cidr: v.cidr ?? '' }
  return { kind: 'ovs', bridge: v.bridge ?? '', uplink: v.uplink || null, vlan: v.vlan ?? null }
}

export function CreateNetwork({ close }: { close: () => void }) {
  const t = useT()
  const needed = [{ required: true, message: t('ui.needed') }]
  const submit = async (v: Values) => {
    await api.post('/v1/networks', { body: { name: v.name, spec: specOf(v) } })
    await queryClient.invalidateQueries({ queryKey: keys.lists('network') })
  }
  return (
    <FormDialog<Values> title={t('network.create')} ok={t('ui.create')} initial={{ kind: 'nat' }} close={close} submit={submit}>
      {(form) => (
        <>
          <NameField label={t('network.name')} autoFocus />
          <Form.Item name="kind" label={t('network.kind')}>
            <Segmented options={(['nat', 'ovs'] as const).map((k) => ({ value: k, label: t(`network.kind.${k}`) }))} />
          </Form.Item>
          <Form.Item noStyle shouldUpdate={(a: Values, b: Values) => a.kind !== b.kind}>
            {() =>
              form.getFieldValue('kind') === 'nat' ? (
                <>
                  <p className="field-help">{t('network.natHelp')}</p>
                  <Form.Item name="cidr" label={t('network.cidr')} extra={t('network.cidrHelp')} rules={needed}>
                    <Input spellCheck={false} />
                  </Form.Item>
                </>
              ) : (
                <>
                  <p className="field-help">{t('network.ovsHelp')}</p>
                  <Form.Item name="bridge" label={t('network.bridge')} rules={needed}>
                    <Input spellCheck={false} />
                  </Form.Item>
                  <Form.Item name="uplink" label={t('network.uplink')} extra={t('network.uplinkHelp')}>
                    <Input spellCheck={false} />
                  </Form.Item>
                  <Form.Item name="vlan" label={t('network.vlan')}>
                    <InputNumber min={1} max={4094} precision={0} />
                  </Form.Item>
                </>
              )
            }
          </Form.Item>
        </>
      )}
    </FormDialog>
  )
}
