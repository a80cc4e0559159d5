/** Lets in who is signed in, and whose password is their own. The address stays, so that one arrives where one wanted to go. */
import { Spin } from 'antd'
import { type ReactNode, useEffect, useState } from 'react'
import { onSignedOut } from '../api/client'
import { setRights } from '../api/rights'
import { useT } from '../i18n'
import { ProblemAlert } from '../ui/ProblemAlert'
import { nobody, useSession } from './api'
import { PasswordForm } from './PasswordForm'
import { SignInPage, Welcome } from './SignInPage'

export function Gate({ children }: { children: ReactNode }) {
  const t = useT()
  const session = useSession()
  const [lost, setLost] = useState(false)
  useEffect(() => {
    onSignedOut(() => {
      setLost(true)
      nobody()
    })
  }, [])
  const who = session.data
  if (who) setRights(who.privileges)
  if (session.isPending) return <Spin fullscreen description={t('session.checking')} />
  if (who === undefined) {
    return (
      <Welcome>
        <ProblemAlert error={session.error} onRetry={() => void session.refetch()} />
      </Welcome>
    )
  }
  if (who === null) return <SignInPage lost={lost} />
  if (who.must_change_password) {
    return (
      <Welcome title={t('session.changeTitle')}>
        <PasswordForm first />
      </Welcome>
    )
  }
  return children
}
