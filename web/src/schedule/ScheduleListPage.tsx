/** Schedules: one's own, and for who may edit all VMs everybody's. */
import { PlusOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useMemo, useState } from 'react'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { dateTime } from '../ui/format'
import { ListView } from '../ui/ListView'
import { ObjectLink } from '../ui/ObjectLink'
import { Page } from '../ui/Page'
import { Status } from '../ui/Status'
import { scheduleActions } from './actions'
import { keepOf, type Schedule, scheduleSource, vmsOf, whenOf } from './api'
import { CreateSchedule } from './CreateSchedule'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'owner' },
  { name: 'next_at', kind: 'time' },
  { name: 'created_at', kind: 'time' },
]

export default function ScheduleListPage() {
  const t = useT()
  const can = useCan()
  const [creating, setCreating] = useState(false)
  const columns = useMemo(
    (): Column<Schedule>[] => [
      { id: 'name', header: t('schedule.name'), sort: 'name', cell: (r) => r.name, csv: (r) => r.name },
      {
        id: 'state',
        header: t('schedule.state'),
        width: 120,
        cell: (r) => (
          <Status tone={r.spec.enabled ? 'good' : 'off'}>{t(r.spec.enabled ? 'schedule.atWork' : 'schedule.rests')}</Status>
        ),
        csv: (r) => (r.spec.enabled ? 'enabled' : 'disabled'),
      },
      {
        id: 'vms',
        header: t('schedule.vms'),
        cell: (r) => (r.vm ? <ObjectLink of={r.vm} /> : <span className="mono">{vmsOf(r)}</span>),
        csv: vmsOf,
      },
      { id: 'when', header: t('schedule.when'), cell: (r) => whenOf(r, t), csv: (r) => whenOf(r, t) },
      {
        id: 'work',
        header: t('schedule.work'),
        width: 150,
        cell: (r) => t(`snapshot.kind.${r.spec.work.kind ?? 'ordinary'}`),
        csv: (r) => r.spec.work.kind,
      },
      { id: 'keep', header: t('schedule.keep'), width: 150, cell: (r) => keepOf(r, t), csv: (r) => keepOf(r, t) },
      {
        id: 'next',
        header: t('schedule.next'),
        width: 180,
        sort: 'next_at',
        cell: (r) => (r.spec.enabled ? dateTime(r.next_at) : '–'),
        csv: (r) => r.next_at,
      },
      createdColumn(t('schedule.created'), { optional: true }),
    ],
    [t],
  )
  return (
    <Page title={t('schedule.many')} flush>
      <ListView<Schedule>
        id="schedules"
        label={t('schedule.many')}
        source={scheduleSource}
        columns={columns}
        fields={FIELDS}
        example="name ~ nightly"
        defaultSort="name"
        actions={scheduleActions}
        empty={t('schedule.none')}
        primary={
          can('vm_edit') && (
            <Button type="primary" icon={<PlusOutlined />} onClick={() => setCreating(true)}>
              {t('schedule.create')}
            </Button>
          )
        }
      />
      {creating && <CreateSchedule close={() => setCreating(false)} />}
    </Page>
  )
}
