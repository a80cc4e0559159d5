/** One account: its state, and its roles. */
import { useParams } from '@tanstack/react-router'
import { term } from '../api/filter'
import { useT } from '../i18n'
import { BindingList } from '../role/BindingList'
import { dateTime } from '../ui/format'
import { ObjectPage } from '../ui/ObjectPage'
import { Facts, Panel } from '../ui/Panel'
import { userActions } from './actions'
import { useUser } from './api'
import { user as noun } from './noun'
import { UserStateView } from './UserState'

export default function UserPage() {
  const t = useT()
  const { user: name = '' } = useParams({ strict: false }) as { user?: string }
  const { data: user, error, refetch } = useUser(name)
  return (
    <ObjectPage
      crumbs={[{ label: t('user.many'), to: '/users' }, { label: user?.name ?? name }]}
      icon={noun.icon}
      title={user?.name ?? name}
      state={user && <UserStateView user={user} />}
      object={user}
      error={error}
      onRetry={() => void refetch()}
      actions={userActions}
      buttons={['grant']}
    >
      {user && (
        <div className="page" style={{ gap: 12 }}>
          <Panel title={t('user.one')}>
            <Facts items={[[t('user.created'), dateTime(user.created_at)]]} />
          </Panel>
          <h2 style={{ fontSize: 14 }}>{t('user.grants')}</h2>
          <BindingList id="user-bindings" within={term('user', '=', user.id)} />
        </div>
      )}
    </ObjectPage>
  )
}
