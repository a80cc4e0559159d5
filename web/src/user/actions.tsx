/** What can be done with an account. */
import { DeleteOutlined, KeyOutlined, SafetyOutlined } from '@ant-design/icons'
import { lazy } from 'react'
import { api } from '../api/client'
import type { Action } from '../ui/action'
import { reread, type User, updateUser } from './api'

// Loaded when they are opened.
const GrantDialog = lazy(() => import('../role/GrantDialog').then((m) => ({ default: m.GrantDialog })))
const PasswordDialog = lazy(() => import('./PasswordDialog').then((m) => ({ default: m.PasswordDialog })))

const names = (users: User[]) => users.map((u) => u.name).join(', ')

export const userActions: Action<User>[] = [
  {
    id: 'grant',
    label: 'user.grantRole',
    icon: <SafetyOutlined />,
    group: 1,
    privilege: 'user_manage',
    single: true,
    dialog: (u, close) => <GrantDialog user={u.name} close={close} />,
  },
  {
    id: 'password',
    label: 'user.setPassword',
    icon: <KeyOutlined />,
    group: 1,
    privilege: 'user_manage',
    single: true,
    dialog: (u, close) => <PasswordDialog user={u} close={close} />,
  },
  {
    id: 'disable',
    label: 'user.disable',
    group: 2,
    privilege: 'user_manage',
    refused: (u) => (u.disabled ? 'user.not.disabled' : undefined),
    confirm: (users, t) => ({ text: t('user.disableText', { names: names(users) }) }),
    run: async (u) => {
      await updateUser(u, { disabled: true })
      return { undo: () => updateUser({ ...u, generation: u.generation + 1 }, { disabled: false }) }
    },
  },
  {
    id: 'enable',
    label: 'user.enable',
    group: 2,
    privilege: 'user_manage',
    refused: (u) => (u.disabled ? undefined : 'user.not.enabled'),
    run: async (u) => {
      await updateUser(u, { disabled: false })
      return undefined
    },
  },
  {
    id: 'delete',
    label: 'user.delete',
    icon: <DeleteOutlined />,
    group: 3,
    danger: true,
    privilege: 'user_manage',
    confirm: (users, t) => ({ text: t('user.deleteText', { names: names(users) }), typeName: true }),
    run: async (u) => {
      await api.delete('/v1/users/{user}', { path: { user: u.id } })
      await reread()
      return undefined
    },
  },
]
