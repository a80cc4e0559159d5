/** A list of VMs: all of them, or those of a host, an image, a network. */
import { type ReactNode, useMemo } from 'react'
import { useT } from '../i18n'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { count, dateTime, percent, size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { ObjectLink } from '../ui/ObjectLink'
import { Tag } from '../ui/Status'
import { vmActions } from './actions'
import { stateOf, VM_STATES, type Vm, vmSource } from './api'
import { VmStateView } from './VmState'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'state', words: VM_STATES },
  { name: 'host' },
  { name: 'cpus', kind: 'number' },
  { name: 'memory', kind: 'bytes' },
  { name: 'ip' },
  { name: 'image' },
  { name: 'network' },
  { name: 'owner' },
  { name: 'drift', kind: 'bool' },
  { name: 'settled', kind: 'bool' },
  { name: 'desired', words: ['running', 'stopped', 'paused', 'hibernated', 'absent'] },
  { name: 'label.app' },
  { name: 'created_at', kind: 'time' },
  { name: 'updated_at', kind: 'time' },
]

const labelText = (vm: Vm) => Object.entries(vm.labels).map(([k, v]) => `${k}=${v}`)

export function VmList({ id, within, primary }: { id: string; within?: string; primary?: ReactNode }) {
  const t = useT()
  const source = useMemo(() => vmSource(within), [within])
  const columns = useMemo(
    (): Column<Vm>[] => [
      {
        id: 'name',
        header: t('vm.name'),
        sort: 'name',
        cell: (r) => <GoLink to={`/vms/${r.id}`}>{r.name}</GoLink>,
        csv: (r) => r.name,
      },
      {
        id: 'state',
        header: t('vm.state'),
        width: 110,
        sort: 'state',
        cell: (r) => <VmStateView vm={r} />,
        csv: (r) => stateOf(r),
      },
      {
        id: 'host',
        header: t('vm.host'),
        width: 150,
        sort: 'host',
        cell: (r) => <ObjectLink of={r.host} plain />,
        csv: (r) => r.host?.name,
      },
      {
        id: 'cpus',
        header: t('vm.cpus'),
        width: 64,
        numeric: true,
        sort: 'cpus',
        cell: (r) => count(r.spec.cpu.count),
        csv: (r) => r.spec.cpu.count,
      },
      {
        id: 'memory',
        header: t('vm.memory'),
        width: 84,
        numeric: true,
        sort: 'memory',
        cell: (r) => size(r.spec.memory.bytes),
        csv: (r) => r.spec.memory.bytes,
      },
      {
        id: 'cpuUsed',
        header: t('vm.cpuUsed'),
        width: 90,
        numeric: true,
        cell: (r) => (stateOf(r) === 'running' ? percent(r.stats?.cpu) : ''),
        csv: (r) => r.stats?.cpu,
      },
      {
        id: 'ips',
        header: t('vm.ips'),
        width: 120,
        cell: (r) => <span title={r.observed.guest?.ips?.join(', ')}>{r.observed.guest?.ips?.join(', ')}</span>,
        csv: (r) => r.observed.guest?.ips?.join(' '),
      },
      {
        id: 'os',
        header: t('vm.os'),
        width: 170,
        optional: true,
        cell: (r) => r.observed.guest?.os,
        csv: (r) => r.observed.guest?.os,
      },
      {
        id: 'labels',
        header: t('vm.labels'),
        width: 150,
        cell: (r) => labelText(r).map((l) => <Tag key={l}>{l}</Tag>),
        csv: (r) => labelText(r).join(' '),
      },
      {
        id: 'memoryUsed',
        header: t('vm.memoryUsed'),
        width: 110,
        numeric: true,
        optional: true,
        cell: (r) => size(r.stats?.memory_bytes),
        csv: (r) => r.stats?.memory_bytes,
      },
      {
        id: 'owner',
        header: t('vm.owner'),
        width: 110,
        optional: true,
        sort: 'owner',
        cell: (r) => r.owner.name,
        csv: (r) => r.owner.name,
      },
      {
        id: 'desired',
        header: t('vm.desired'),
        width: 110,
        optional: true,
        sort: 'desired',
        cell: (r) => t(`vm.state.${r.desired}`),
        csv: (r) => r.desired,
      },
      createdColumn(t('vm.created'), { width: 170, optional: true }),
      {
        id: 'updated',
        header: t('vm.updated'),
        width: 170,
        optional: true,
        sort: 'updated_at',
        cell: (r) => dateTime(r.updated_at),
        csv: (r) => r.updated_at,
      },
      {
        id: 'id',
        header: t('vm.id'),
        width: 290,
        optional: true,
        cell: (r) => <span className="mono">{r.id}</span>,
        csv: (r) => r.id,
      },
    ],
    [t],
  )
  return (
    <ListView<Vm>
      id={id}
      label={t('vm.many')}
      source={source}
      columns={columns}
      fields={FIELDS}
      example={'state = running and label.app = "db"'}
      defaultSort="name"
      actions={vmActions}
      open={(r) => `/vms/${r.id}`}
      primary={primary}
      empty={t('vm.none')}
    />
  )
}
