/** An account's state in a word. */
import { useT } from '../i18n'
import { dateTime } from '../ui/format'
import { Status } from '../ui/Status'
import type { User } from './api'

export function UserStateView({ user }: { user: User }) {
  const t = useT()
  if (user.disabled) return <Status tone="off">{t('user.state.disabled')}</Status>
  if (user.locked_until && new Date(user.locked_until) > new Date())
    return <Status tone="bad">{t('user.state.locked', { until: dateTime(user.locked_until) })}</Status>
  if (user.must_change_password) return <Status tone="warn">{t('user.state.mustChange')}</Status>
  return <Status tone="good">{t('user.state.active')}</Status>
}
