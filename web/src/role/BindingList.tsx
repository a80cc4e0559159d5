/** Roles that were granted, and taking them back. */
import { DeleteOutlined } from '@ant-design/icons'
import { useMemo } from 'react'
import { api } from '../api/client'
import { useT } from '../i18n'
import type { Action } from '../ui/action'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { ListView } from '../ui/ListView'
import { ObjectLink } from '../ui/ObjectLink'
import { type Binding, bindingSource, reread } from './api'
import { ScopeText } from './ScopeText'

const FIELDS: FilterField[] = [
  { name: 'user' },
  { name: 'role', words: ['admin', 'operator', 'user', 'viewer', 'auditor', 'system_admin', 'security_admin', 'audit_admin'] },
  { name: 'scope', words: ['all', 'own', 'host', 'vm', 'own_on_host'] },
]

const ACTIONS: Action<Binding>[] = [
  {
    id: 'revoke',
    label: 'role.revoke',
    icon: <DeleteOutlined />,
    group: 1,
    danger: true,
    privilege: 'user_manage',
    confirm: (bindings, t) => ({ text: t('role.revokeText', { names: bindings.map((b) => b.name).join(', ') }) }),
    run: async (b) => {
      await api.delete('/v1/role-bindings/{binding}', { path: { binding: b.id } })
      await reread()
      return {
        undo: async () => {
          await api.post('/v1/role-bindings', { body: { user: b.user.id, role: b.role, scope: b.scope } })
          await reread()
        },
      }
    },
  },
]

export function BindingList({ id, within }: { id: string; within?: string }) {
  const t = useT()
  const source = useMemo(() => bindingSource(within), [within])
  const columns = useMemo(
    (): Column<Binding>[] => [
      {
        id: 'user',
        header: t('role.user'),
        width: 220,
        sort: 'user',
        cell: (r) => <ObjectLink of={r.user} />,
        csv: (r) => r.user.name,
      },
      { id: 'role', header: t('role.role'), width: 160, sort: 'role', cell: (r) => r.role, csv: (r) => r.role },
      { id: 'scope', header: t('role.scope'), cell: (r) => <ScopeText scope={r.scope} />, csv: (r) => r.scope.scope },
    ],
    [t],
  )
  return (
    <ListView<Binding>
      id={id}
      label={t('role.bindings')}
      source={source}
      columns={columns}
      fields={FIELDS}
      example="role = admin"
      actions={ACTIONS}
      empty={t('role.none')}
    />
  )
}
