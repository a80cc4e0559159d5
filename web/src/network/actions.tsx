/** What can be done with a network. */
import { DeleteOutlined } from '@ant-design/icons'
import { api } from '../api/client'
import type { Action } from '../ui/action'
import type { Network } from './api'

export const networkActions: Action<Network>[] = [
  {
    id: 'delete',
    label: 'network.delete',
    icon: <DeleteOutlined />,
    group: 1,
    danger: true,
    privilege: 'network_manage',
    refused: (n) => (n.deleting ? 'network.not.deleting' : undefined),
    confirm: (networks, t) => ({
      text: t('network.deleteText', { names: networks.map((n) => n.name).join(', ') }),
      typeName: true,
    }),
    run: async (n) => api.delete('/v1/networks/{network}', { path: { network: n.id } }),
  },
]
