/** All hosts. */
import { PlusOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useMemo } from 'react'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { count, percent, size } from '../ui/format'
import { GoLink, useGo } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { Page } from '../ui/Page'
import { Time } from '../ui/Panel'
import { Bar } from '../ui/Status'
import { hostActions } from './actions'
import { type Host, hostSource } from './api'
import { HostStateView } from './HostState'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'maintenance', kind: 'bool' },
  { name: 'address' },
  { name: 'created_at', kind: 'time' },
  { name: 'last_report_at', kind: 'time' },
]

/** Share of the memory that VMs were promised. */
export const promised = (h: Host) => (h.facts.memory_bytes ? h.memory_allocated_bytes / h.facts.memory_bytes : 0)

export default function HostListPage() {
  const t = useT()
  const go = useGo()
  const can = useCan()
  const columns = useMemo(
    (): Column<Host>[] => [
      {
        id: 'name',
        header: t('host.name'),
        sort: 'name',
        cell: (r) => <GoLink to={`/hosts/${r.id}`}>{r.name}</GoLink>,
        csv: (r) => r.name,
      },
      {
        id: 'state',
        header: t('host.state'),
        width: 100,
        cell: (r) => <HostStateView host={r} />,
        csv: (r) => (r.maintenance ? 'maintenance' : r.state),
      },
      { id: 'vms', header: t('host.vms'), width: 60, numeric: true, cell: (r) => count(r.vms), csv: (r) => r.vms },
      {
        id: 'cpu',
        header: t('host.cpuUsed'),
        width: 110,
        cell: (r) => <Used share={r.stats?.cpu} text={percent(r.stats?.cpu)} />,
        csv: (r) => r.stats?.cpu,
      },
      {
        id: 'memory',
        header: t('host.memoryAllocated'),
        width: 190,
        cell: (r) => (
          <Used
            share={promised(r)}
            text={t('host.memoryOf', { used: size(r.memory_allocated_bytes), total: size(r.facts.memory_bytes) })}
          />
        ),
        csv: (r) => r.memory_allocated_bytes,
      },
      {
        id: 'processors',
        header: t('host.processors'),
        width: 80,
        numeric: true,
        cell: (r) => count(r.facts.cpu?.logical),
        csv: (r) => r.facts.cpu?.logical,
      },
      {
        id: 'storage',
        header: t('host.storage'),
        width: 100,
        numeric: true,
        cell: (r) => size(r.facts.store_free_bytes),
        csv: (r) => r.facts.store_free_bytes,
      },
      {
        id: 'report',
        header: t('host.report'),
        width: 110,
        sort: 'last_report_at',
        cell: (r) => <Time at={r.last_report_at} />,
        csv: (r) => r.last_report_at,
      },
      {
        id: 'address',
        header: t('host.address'),
        width: 150,
        sort: 'address',
        optional: true,
        cell: (r) => <span className="mono">{r.address}</span>,
        csv: (r) => r.address,
      },
      createdColumn(t('host.created'), { width: 170, optional: true }),
    ],
    [t],
  )
  return (
    <Page title={t('host.many')} flush>
      <ListView<Host>
        id="hosts"
        label={t('host.many')}
        source={hostSource}
        columns={columns}
        fields={FIELDS}
        example="maintenance = true"
        defaultSort="name"
        actions={hostActions}
        open={(r) => `/hosts/${r.id}`}
        empty={t('host.none')}
        primary={
          can('host_manage') && (
            <Button type="primary" icon={<PlusOutlined />} onClick={() => go('/hosts/new')}>
              {t('host.add')}
            </Button>
          )
        }
      />
    </Page>
  )
}

function Used({ share, text }: { share: number | null | undefined; text: string }) {
  return (
    <span className="row tight">
      <span style={{ width: 44, flex: 'none' }}>
        <Bar share={share ?? 0} label={text} />
      </span>
      <span className="clip">{text}</span>
    </span>
  )
}
