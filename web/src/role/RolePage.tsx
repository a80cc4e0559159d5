/** Roles: who has which, and what each allows. */
import { PlusOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useState } from 'react'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { GoLink } from '../ui/Link'
import { Page } from '../ui/Page'
import { Plain } from '../ui/Plain'
import { useUrlState } from '../ui/urlState'
import { useRoles } from './api'
import { BindingList } from './BindingList'
import { GrantDialog } from './GrantDialog'

export default function RolePage() {
  const t = useT()
  const can = useCan()
  const [granting, setGranting] = useState(false)
  const [search] = useUrlState()
  const roles = useRoles().data ?? []
  const tab = search.show === 'roles' ? 'roles' : 'bindings'
  return (
    <Page
      title={t('role.many')}
      flush
      extra={
        can('user_manage') && (
          <Button type="primary" icon={<PlusOutlined />} onClick={() => setGranting(true)}>
            {t('role.grant')}
          </Button>
        )
      }
    >
      <nav className="tabs" aria-label={t('role.many')} style={{ marginBottom: 8 }}>
        <GoLink to="/roles" aria-current={tab === 'bindings' ? 'page' : undefined}>
          {t('role.bindings')}
        </GoLink>
        <GoLink to="/roles?show=roles" aria-current={tab === 'roles' ? 'page' : undefined}>
          {t('role.roles')}
        </GoLink>
      </nav>
      {tab === 'bindings' ? (
        <BindingList id="bindings" />
      ) : (
        <Plain
          label={t('role.roles')}
          rows={roles}
          id={(r) => r.role}
          columns={[
            [t('role.role'), (r) => r.role],
            [t('role.description'), (r) => <span title={r.description}>{r.description}</span>],
            [
              t('role.privileges'),
              (r) => (
                <span className="mono" title={r.privileges.join(', ')}>
                  {r.privileges.join(', ')}
                </span>
              ),
            ],
          ]}
        />
      )}
      {granting && <GrantDialog close={() => setGranting(false)} />}
    </Page>
  )
}
