/** Labels and description of a VM. */
import { Button, Form, Input } from 'antd'
import { api } from '../api/client'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import type { Vm } from './api'

interface Values {
  description?: string
  labels: { key: string; value: string }[]
}

export function LabelsDialog({ vm, close }: { vm: Vm; close: () => void }) {
  const t = useT()
  const initial = { description: vm.description, labels: Object.entries(vm.labels).map(([key, value]) => ({ key, value })) }
  const submit = (v: Values) =>
    api.patch('/v1/vms/{vm}', {
      path: { vm: vm.id },
      ifMatch: vm.generation,
      body: {
        description: v.description ?? '',
        labels: Object.fromEntries(v.labels.filter((l) => l?.key).map((l) => [l.key, l.value ?? ''])),
      },
    })
  return (
    <FormDialog<Values>
      title={`${t('vm.act.labels')}: ${vm.name}`}
      ok={t('ui.save')}
      initial={initial}
      close={close}
      submit={submit}
      width={560}
    >
      <Form.Item name="description" label={t('vm.description')}>
        <Input.TextArea rows={2} autoFocus />
      </Form.Item>
      <Form.List name="labels">
        {(fields, { add, remove }) => (
          <div className="stack" style={{ gap: 6 }}>
            {fields.map((f) => (
              <div className="row" key={f.key}>
                <Form.Item name={[f.name, 'key']} noStyle>
                  <Input aria-label={t('vm.labelKey')} placeholder={t('vm.labelKey')} />
                </Form.Item>
                <Form.Item name={[f.name, 'value']} noStyle>
                  <Input aria-label={t('vm.labelValue')} placeholder={t('vm.labelValue')} />
                </Form.Item>
                <Button type="text" aria-label={t('vm.labelRemove', { key: f.name + 1 })} onClick={() => remove(f.name)}>
                  ×
                </Button>
              </div>
            ))}
            <div>
              <Button size="small" onClick={() => add({ key: '', value: '' })}>
                {t('vm.labelAdd')}
              </Button>
            </div>
          </div>
        )}
      </Form.List>
    </FormDialog>
  )
}
