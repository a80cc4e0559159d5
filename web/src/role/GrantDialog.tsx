/** Granting a role over a scope. */
import { Form, Select } from 'antd'
import { api } from '../api/client'
import type { Schemas } from '../api/schema'
import { findHosts } from '../host/api'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import { ObjectSelect } from '../ui/ObjectSelect'
import { findUsers } from '../user/api'
import { findVms } from '../vm/api'
import { reread, type Scope } from './api'
import { RoleSelect } from './RoleSelect'

interface Values {
  user: string
  role: Schemas['Role']
  scope: Scope['scope']
  id?: string
}
const SCOPES: Scope['scope'][] = ['all', 'own', 'host', 'own_on_host', 'vm']
const needsObject = (scope: Scope['scope']) => scope !== 'all' && scope !== 'own'

export function GrantDialog({ user, vm, close }: { user?: string; vm?: { id: string; name: string }; close: () => void }) {
  const t = useT()
  const needed = [{ required: true, message: t('ui.needed') }]
  const submit = async (v: Values) => {
    const scope = (needsObject(v.scope) ? { scope: v.scope, id: v.id ?? '' } : { scope: v.scope }) as Scope
    await api.post('/v1/role-bindings', { body: { user: v.user, role: v.role, scope } })
    await reread()
  }
  return (
    <FormDialog<Values>
      title={t('role.grant')}
      ok={t('role.grant')}
      initial={{ user, scope: vm ? 'vm' : 'all', id: vm?.id }}
      close={close}
      submit={submit}
    >
      {(form) => (
        <>
          <Form.Item name="user" label={t('role.user')} rules={needed}>
            <ObjectSelect kind="user" find={findUsers} by="name" />
          </Form.Item>
          <Form.Item name="role" label={t('role.role')} rules={needed}>
            <RoleSelect />
          </Form.Item>
          <Form.Item name="scope" label={t('role.scope')}>
            <Select
              options={SCOPES.map((s) => ({ value: s, label: t(`role.scope.${s}`) }))}
              onChange={() => form.setFieldValue('id', undefined)}
            />
          </Form.Item>
          <Form.Item noStyle shouldUpdate={(a: Values, b: Values) => a.scope !== b.scope}>
            {() => {
              const scope = form.getFieldValue('scope') as Scope['scope']
              if (!needsObject(scope)) return null
              return (
                <Form.Item name="id" label={t('role.scopeObject')} rules={needed} key={scope}>
                  <ObjectSelect
                    kind={scope === 'vm' ? 'vm' : 'host'}
                    find={scope === 'vm' ? findVms : findHosts}
                    by="id"
                    known={scope === 'vm' ? vm : undefined}
                  />
                </Form.Item>
              )
            }}
          </Form.Item>
        </>
      )}
    </FormDialog>
  )
}
