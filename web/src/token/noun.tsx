import { KeyOutlined } from '@ant-design/icons'
import { api } from '../api/client'
import { term } from '../api/filter'
import type { Noun } from '../app/noun'

export const token: Noun = {
  kind: 'token',
  icon: <KeyOutlined />,
  label: 'token.many',
  find: async (text, signal) => {
    const page = await api.get('/v1/tokens', { query: { filter: term('name', '~', text), limit: 5 }, signal })
    return page.items.map((x) => ({ id: x.id, name: x.name, to: `/tokens?filter=${term('name', '=', x.name)}` }))
  },
  menu: { to: '/tokens', order: 30, under: 'administration' },
  pages: [{ path: '/tokens', load: () => import('./TokenListPage') }],
}
