/** All data stores. */
import { PlusOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useMemo, useState } from 'react'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { Page } from '../ui/Page'
import { dataStoreActions } from './actions'
import { type DataStore, dataStoreSource, usedBytes } from './api'
import { CreateDataStore } from './CreateDataStore'
import { DataStoreStateView, stateWord } from './DataStoreState'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'kind', words: ['local', 'shared_nas', 'shared_san'] },
  { name: 'host' },
  { name: 'state', words: ['creating', 'ready', 'deleting', 'dropping', 'dropped'] },
  { name: 'maintenance', kind: 'bool' },
  { name: 'created_at', kind: 'time' },
]

const reached = (s: DataStore) => s.hosts.filter((h) => h.reachable).length

export default function DataStoreListPage() {
  const t = useT()
  const can = useCan()
  const [creating, setCreating] = useState(false)
  const columns = useMemo(
    (): Column<DataStore>[] => [
      {
        id: 'name',
        header: t('data_store.name'),
        sort: 'name',
        cell: (r) => <GoLink to={`/data-stores/${r.id}`}>{r.name}</GoLink>,
        csv: (r) => r.name,
      },
      {
        id: 'state',
        header: t('data_store.state'),
        width: 140,
        cell: (r) => <DataStoreStateView store={r} />,
        csv: stateWord,
      },
      {
        id: 'kind',
        header: t('data_store.kind'),
        width: 180,
        sort: 'kind',
        cell: (r) => t(`data_store.kind.${r.kind}`),
        csv: (r) => r.kind,
      },
      {
        id: 'capacity',
        header: t('data_store.capacity'),
        width: 110,
        cell: (r) => size(r.total_bytes || undefined),
        csv: (r) => r.total_bytes,
      },
      { id: 'used', header: t('data_store.used'), width: 110, cell: (r) => size(usedBytes(r)), csv: (r) => usedBytes(r) ?? '' },
      {
        id: 'promised',
        header: t('data_store.promised'),
        width: 110,
        cell: (r) => size(r.promised_bytes),
        csv: (r) => r.promised_bytes,
      },
      {
        id: 'hosts',
        header: t('data_store.hosts'),
        width: 100,
        cell: (r) => t('data_store.reach', { n: reached(r), all: r.hosts.length }),
        csv: (r) => `${reached(r)}/${r.hosts.length}`,
      },
      createdColumn(t('data_store.created')),
    ],
    [t],
  )
  return (
    <Page title={t('data_store.many')} flush>
      <ListView<DataStore>
        id="data-stores"
        label={t('data_store.many')}
        source={dataStoreSource}
        columns={columns}
        fields={FIELDS}
        example="kind = shared_nas"
        defaultSort="name"
        actions={dataStoreActions}
        open={(r) => `/data-stores/${r.id}`}
        empty={t('data_store.none')}
        primary={
          can('data_store_manage') && (
            <Button type="primary" icon={<PlusOutlined />} onClick={() => setCreating(true)}>
              {t('data_store.create')}
            </Button>
          )
        }
      />
      {creating && <CreateDataStore close={() => setCreating(false)} />}
    </Page>
  )
}
