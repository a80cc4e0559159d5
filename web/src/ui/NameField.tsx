/** A field for a name, with the one rule that all names follow. */
import { Form, Input } from 'antd'
import { useT } from '../i18n'

export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

interface Props {
  label: string
  autoFocus?: boolean
  field?: string
  /** It may be left out. */
  optional?: boolean
}

export function NameField({ label, autoFocus, field = 'name', optional = false }: Props) {
  const t = useT()
  return (
    <Form.Item
      name={field}
      label={label}
      extra={t('ui.nameHelp')}
      rules={[
        { required: !optional, message: t('ui.needed') },
        { pattern: NAME, message: t('ui.nameHelp') },
      ]}
    >
      <Input autoFocus={autoFocus} autoComplete="off" spellCheck={false} />
    </Form.Item>
  )
}
