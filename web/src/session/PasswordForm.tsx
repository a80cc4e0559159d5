/** Changing one's own password; also the first thing after a one-time password. */
import { Alert, Button, Form, Input } from 'antd'
import { useState } from 'react'
import { useT } from '../i18n'
import { ProblemAlert } from '../ui/ProblemAlert'
import { changePassword, signOut } from './api'

interface Values {
  current: string
  next: string
  again: string
}

export function PasswordForm({ first }: { first?: boolean }) {
  const t = useT()
  const [form] = Form.useForm<Values>()
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const [done, setDone] = useState(false)
  const needed = { required: true, message: t('session.needed') }
  const submit = async (v: Values) => {
    setBusy(true)
    setError(undefined)
    try {
      await changePassword(v.current, v.next)
      form.resetFields()
      setDone(true)
    } catch (e) {
      setError(e)
    } finally {
      setBusy(false)
    }
  }
  const same = ({ getFieldValue }: { getFieldValue: (name: string) => unknown }) => ({
    validator: (_: unknown, value: string) =>
      !value || value === getFieldValue('next') ? Promise.resolve() : Promise.reject(new Error(t('session.different'))),
  })
  return (
    <div className="stack" style={{ width: '100%' }}>
      {first && <Alert type="info" showIcon title={t('session.changeFirst')} />}
      {done && !first && <Alert type="success" showIcon title={t('session.changed')} />}
      <ProblemAlert error={error} />
      <Form form={form} layout="vertical" onFinish={(v) => void submit(v)} requiredMark={false}>
        <Form.Item name="current" label={t('session.current')} rules={[needed]}>
          <Input.Password autoComplete="current-password" autoFocus={first} />
        </Form.Item>
        <Form.Item name="next" label={t('session.new')} rules={[needed]} extra={t('session.newHelp')}>
          <Input.Password autoComplete="new-password" />
        </Form.Item>
        <Form.Item name="again" label={t('session.again')} dependencies={['next']} rules={[needed, same]}>
          <Input.Password autoComplete="new-password" />
        </Form.Item>
        <div className="row">
          <Button type="primary" htmlType="submit" loading={busy}>
            {t('session.change')}
          </Button>
          {first && <Button onClick={() => void signOut()}>{t('session.signOut')}</Button>}
        </div>
      </Form>
    </div>
  )
}
