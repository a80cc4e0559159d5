/** All accounts. */
import { PlusOutlined } from '@ant-design/icons'
import { Button, Form, Input } from 'antd'
import { useMemo, useState } from 'react'
import { api } from '../api/client'
import { useCan } from '../api/rights'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { RoleSelect } from '../role/RoleSelect'
import { GrantTags } from '../role/ScopeText'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { FormDialog } from '../ui/FormDialog'
import { GoLink } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { NameField } from '../ui/NameField'
import { Page } from '../ui/Page'
import { userActions } from './actions'
import { reread, type User, userSource } from './api'
import { UserStateView } from './UserState'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'disabled', kind: 'bool' },
  { name: 'must_change', kind: 'bool' },
  { name: 'created_at', kind: 'time' },
]

export default function UserListPage() {
  const t = useT()
  const can = useCan()
  const [creating, setCreating] = useState(false)
  const columns = useMemo(
    (): Column<User>[] => [
      {
        id: 'name',
        header: t('user.name'),
        sort: 'name',
        width: 220,
        cell: (r) => <GoLink to={`/users/${r.id}`}>{r.name}</GoLink>,
        csv: (r) => r.name,
      },
      {
        id: 'state',
        header: t('user.state'),
        width: 240,
        cell: (r) => <UserStateView user={r} />,
        csv: (r) => (r.disabled ? 'disabled' : 'active'),
      },
      {
        id: 'grants',
        header: t('user.grants'),
        cell: (r) => <GrantTags grants={r.grants} />,
        csv: (r) => r.grants.map((g) => g.role).join(' '),
      },
      createdColumn(t('user.created')),
    ],
    [t],
  )
  return (
    <Page title={t('user.many')} flush>
      <ListView<User>
        id="users"
        label={t('user.many')}
        source={userSource}
        columns={columns}
        fields={FIELDS}
        example="disabled = false"
        defaultSort="name"
        actions={userActions}
        open={(r) => `/users/${r.id}`}
        empty={t('user.none')}
        primary={
          can('user_create') && (
            <Button type="primary" icon={<PlusOutlined />} onClick={() => setCreating(true)}>
              {t('user.create')}
            </Button>
          )
        }
      />
      {creating && <CreateUser close={() => setCreating(false)} />}
    </Page>
  )
}

interface Values {
  name: string
  password?: string
  role?: Schemas['Role']
}

function CreateUser({ close }: { close: () => void }) {
  const t = useT()
  const submit = async (v: Values) => {
    await api.post('/v1/users', { body: { name: v.name, password: v.password || null, role: v.role ?? null } })
    await reread()
  }
  return (
    <FormDialog<Values> title={t('user.create')} ok={t('ui.create')} close={close} submit={submit}>
      <NameField label={t('user.name')} autoFocus />
      <Form.Item name="password" label={t('user.password')} extra={t('user.passwordHelp')}>
        <Input.Password autoComplete="new-password" />
      </Form.Item>
      <Form.Item name="role" label={t('user.role')}>
        <RoleSelect allowClear />
      </Form.Item>
    </FormDialog>
  )
}
