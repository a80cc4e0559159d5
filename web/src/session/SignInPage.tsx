/** Signing in. */
import { Alert, Button, Form, Input } from 'antd'
import { type ReactNode, useEffect, useState } from 'react'
import { ApiError } from '../api/problem'
import { LANGUAGES, type Language, language, setLanguage, useT } from '../i18n'
import { ProblemAlert } from '../ui/ProblemAlert'
import { signIn } from './api'

/** The frame of the pages before the portal. */
export function Welcome({ title, children }: { title?: string; children: ReactNode }) {
  return (
    <main className="welcome">
      <div className="panel welcome-box">
        <img src="/favicon.svg" alt="" width={40} height={40} />
        {title && <h1>{title}</h1>}
        {children}
        <div className="row" style={{ justifyContent: 'center' }}>
          {(Object.keys(LANGUAGES) as Language[]).map((l) => (
            <button
              key={l}
              type="button"
              className="linkish"
              lang={l === 'zh' ? 'zh-CN' : 'en'}
              aria-pressed={language() === l}
              onClick={() => setLanguage(l)}
            >
              {LANGUAGES[l]}
            </button>
          ))}
        </div>
      </div>
    </main>
  )
}

export function SignInPage({ lost }: { lost: boolean }) {
  const t = useT()
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const wait = useCountdown(error)
  const submit = async ({ user, password }: { user: string; password: string }) => {
    setBusy(true)
    setError(undefined)
    try {
      await signIn(user, password)
    } catch (e) {
      setError(e)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Welcome title={t('session.title')}>
      {lost && !error && <Alert type="info" showIcon title={t('session.lost')} />}
      <ProblemAlert error={error} />
      <Form layout="vertical" onFinish={(v) => void submit(v)} requiredMark={false} style={{ width: '100%' }}>
        <Form.Item name="user" label={t('session.user')} rules={[{ required: true, message: t('session.needed') }]}>
          <Input autoFocus autoComplete="username" size="large" maxLength={128} />
        </Form.Item>
        <Form.Item name="password" label={t('session.password')} rules={[{ required: true, message: t('session.needed') }]}>
          <Input.Password autoComplete="current-password" size="large" />
        </Form.Item>
        <Button type="primary" htmlType="submit" size="large" block loading={busy} disabled={wait > 0}>
          {wait > 0 ? t('session.wait', { seconds: wait }) : t('session.signIn')}
        </Button>
      </Form>
      <p className="field-help">{t('session.firstHelp')}</p>
    </Welcome>
  )
}

/** Seconds until the manager takes another try, when it said so. */
function useCountdown(error: unknown): number {
  const seconds = error instanceof ApiError ? (error.problem.retry_after_s ?? 0) : 0
  const [left, setLeft] = useState(0)
  useEffect(() => {
    const end = Date.now() + seconds * 1000
    const look = () => setLeft(Math.max(0, Math.ceil((end - Date.now()) / 1000)))
    look()
    if (seconds === 0) return
    const timer = setInterval(look, 250)
    return () => clearInterval(timer)
  }, [seconds])
  return left
}
