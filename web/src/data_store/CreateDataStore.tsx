/** Making a data store of a shared folder. */
import { Form, Input, Select } from 'antd'
import { api } from '../api/client'
import { keys, queryClient } from '../api/query'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import { NameField } from '../ui/NameField'

interface Values {
  name: string
  path: string
  backing: 'nas' | 'san'
  description?: string
}

export function CreateDataStore({ close }: { close: () => void }) {
  const t = useT()
  const submit = async ({ name, path, backing, description }: Values) => {
    const spec = { kind: 'shared_directory' as const, path, backing }
    await api.post('/v1/data-stores', { body: { name, description: description ?? '', spec } })
    await queryClient.invalidateQueries({ queryKey: keys.lists('data_store') })
  }
  return (
    <FormDialog<Values>
      title={t('data_store.create')}
      ok={t('ui.create')}
      initial={{ backing: 'nas' }}
      close={close}
      submit={submit}
    >
      {() => (
        <>
          <p className="field-help">{t('data_store.createHelp')}</p>
          <NameField label={t('data_store.name')} autoFocus />
          <Form.Item
            name="path"
            label={t('data_store.path')}
            extra={t('data_store.pathHelp')}
            rules={[{ required: true, message: t('ui.needed') }]}
          >
            <Input spellCheck={false} />
          </Form.Item>
          <Form.Item name="backing" label={t('data_store.backing')}>
            <Select options={(['nas', 'san'] as const).map((b) => ({ value: b, label: t(`data_store.backing.${b}`) }))} />
          </Form.Item>
          <Form.Item name="description" label={t('data_store.description')}>
            <Input.TextArea rows={2} maxLength={1000} />
          </Form.Item>
        </>
      )}
    </FormDialog>
  )
}
