/** A small form in a dialog; what the manager refuses stands at its field, or above. */
import { Form, type FormInstance, Modal } from 'antd'
import { type ReactNode, useState } from 'react'
import { ApiError } from '../api/problem'
import { useT } from '../i18n'
import { ProblemAlert } from './ProblemAlert'

interface Props<V extends object> {
  title: string
  ok: string
  danger?: boolean
  initial?: Partial<V>
  width?: number
  submit: (values: V) => Promise<unknown>
  close: () => void
  children: ReactNode | ((form: FormInstance<V>) => ReactNode)
}

export function FormDialog<V extends object>(p: Props<V>) {
  const t = useT()
  const [form] = Form.useForm<V>()
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const submit = async (values: V) => {
    setBusy(true)
    setError(undefined)
    try {
      await p.submit(values)
      p.close()
    } catch (e) {
      setError(e)
      markFields(form, e)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Modal
      open
      title={p.title}
      onCancel={p.close}
      okText={p.ok}
      cancelText={t('ui.cancel')}
      okButtonProps={{ danger: p.danger, loading: busy }}
      onOk={() => form.submit()}
      width={p.width}
    >
      <div className="stack">
        <ProblemAlert error={error} />
        <Form form={form} layout="vertical" initialValues={p.initial} onFinish={(v) => void submit(v)}>
          {typeof p.children === 'function' ? p.children(form) : p.children}
          {/* Enter in a field sends the form. */}
          <button type="submit" hidden tabIndex={-1} aria-hidden="true" />
        </Form>
      </div>
    </Modal>
  )
}

/** Puts what is wrong with a field to that field, where the form has it. */
export function markFields(form: FormInstance, error: unknown) {
  if (!(error instanceof ApiError)) return
  const names = new Set(Object.keys((form.getFieldsValue(true) as object) ?? {}))
  const marks = (error.problem.violations ?? [])
    .filter((v) => names.has(v.field))
    .map((v) => ({ name: v.field, errors: [v.message] }))
  if (marks.length > 0) form.setFields(marks as never)
}
