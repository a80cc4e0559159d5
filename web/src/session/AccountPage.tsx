/** One's own account: what one may do, and the password. */
import { useT } from '../i18n'
import { Page } from '../ui/Page'
import { Facts, Panel } from '../ui/Panel'
import { Tag } from '../ui/Status'
import { useSession } from './api'
import { PasswordForm } from './PasswordForm'

export default function AccountPage() {
  const t = useT()
  const who = useSession().data
  return (
    <Page title={t('session.account')}>
      <div className="grid">
        <Panel title={who?.name}>
          <Facts
            items={[
              [t('session.grants'), who?.grants.map((g) => <Tag key={JSON.stringify(g)}>{`${g.role} · ${g.scope.scope}`}</Tag>)],
              [
                t('session.privileges'),
                <span className="mono" key="p">
                  {who?.privileges.join(', ')}
                </span>,
              ],
            ]}
          />
        </Panel>
        <Panel title={t('session.change')}>
          <PasswordForm />
        </Panel>
      </div>
    </Page>
  )
}
