/** Setting somebody's password. */
import { Form, Input } from 'antd'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import { type User, updateUser } from './api'

export function PasswordDialog({ user, close }: { user: User; close: () => void }) {
  const t = useT()
  return (
    <FormDialog<{ password: string }>
      title={`${t('user.setPassword')}: ${user.name}`}
      ok={t('user.setPassword')}
      close={close}
      submit={(v) => updateUser(user, { password: v.password })}
    >
      <Form.Item
        name="password"
        label={t('user.newPassword')}
        extra={t('user.newPasswordHelp')}
        rules={[{ required: true, message: t('ui.needed') }]}
      >
        <Input.Password autoComplete="new-password" autoFocus />
      </Form.Item>
    </FormDialog>
  )
}
