/** All networks. */
import { PlusOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useMemo, useState } from 'react'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { GoLink } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { Page } from '../ui/Page'
import { networkActions } from './actions'
import { type Network, networkSource } from './api'
import { CreateNetwork } from './CreateNetwork'
import { NetworkStateView } from './NetworkState'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'kind', words: ['nat', 'ovs'] },
  { name: 'deleting', kind: 'bool' },
  { name: 'created_at', kind: 'time' },
]

/** What a network is, in a line. */
export function detail({ spec }: Network): string {
  if (spec.kind === 'nat') return spec.cidr
  return [spec.bridge, spec.uplink && `← ${spec.uplink}`, spec.vlan && `VLAN ${spec.vlan}`].filter(Boolean).join(' ')
}

export default function NetworkListPage() {
  const t = useT()
  const can = useCan()
  const [creating, setCreating] = useState(false)
  const columns = useMemo(
    (): Column<Network>[] => [
      {
        id: 'name',
        header: t('network.name'),
        sort: 'name',
        cell: (r) => <GoLink to={`/networks/${r.id}`}>{r.name}</GoLink>,
        csv: (r) => r.name,
      },
      {
        id: 'state',
        header: t('network.state'),
        width: 140,
        cell: (r) => <NetworkStateView network={r} />,
        csv: (r) => (r.deleting ? 'deleting' : 'ready'),
      },
      {
        id: 'kind',
        header: t('network.kind'),
        width: 180,
        sort: 'kind',
        cell: (r) => t(`network.kind.${r.spec.kind}`),
        csv: (r) => r.spec.kind,
      },
      { id: 'detail', header: t('network.detail'), cell: (r) => <span className="mono">{detail(r)}</span>, csv: detail },
      createdColumn(t('network.created')),
    ],
    [t],
  )
  return (
    <Page title={t('network.many')} flush>
      <ListView<Network>
        id="networks"
        label={t('network.many')}
        source={networkSource}
        columns={columns}
        fields={FIELDS}
        example="kind = ovs"
        defaultSort="name"
        actions={networkActions}
        open={(r) => `/networks/${r.id}`}
        empty={t('network.none')}
        primary={
          can('network_manage') && (
            <Button type="primary" icon={<PlusOutlined />} onClick={() => setCreating(true)}>
              {t('network.create')}
            </Button>
          )
        }
      />
      {creating && <CreateNetwork close={() => setCreating(false)} />}
    </Page>
  )
}
