/** A list of events, of all or about one object. */
import { useMemo } from 'react'
import { useT } from '../i18n'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { dateTime } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { ObjectLink } from '../ui/ObjectLink'
import { Status } from '../ui/Status'
import { type EventRow, eventSource, TONES } from './api'

const FIELDS: FilterField[] = [
  { name: 'severity', words: ['info', 'warning', 'error'] },
  { name: 'kind' },
  { name: 'object' },
  { name: 'object_kind', words: ['vm', 'host', 'image', 'network', 'data_store', 'task', 'system'] },
  { name: 'at', kind: 'time' },
]

export function EventList({ within, id }: { within?: string; id: string }) {
  const t = useT()
  const source = useMemo(() => eventSource(within), [within])
  const columns = useMemo(
    (): Column<EventRow>[] => [
      { id: 'at', header: t('event.at'), width: 180, sort: 'at', cell: (r) => dateTime(r.at), csv: (r) => r.at },
      {
        id: 'severity',
        header: t('event.severity'),
        width: 110,
        cell: (r) => <Status tone={TONES[r.severity]}>{t(`event.severity.${r.severity}`)}</Status>,
        csv: (r) => r.severity,
      },
      {
        id: 'object',
        header: t('event.object'),
        width: 190,
        cell: (r) => <ObjectLink of={r.object} />,
        csv: (r) => r.object.name ?? r.object.id,
      },
      {
        id: 'message',
        header: t('event.message'),
        cell: (r) => <span title={r.message}>{r.message}</span>,
        csv: (r) => r.message,
      },
      {
        id: 'kind',
        header: t('event.kind'),
        width: 150,
        cell: (r) => <span className="mono">{r.kind}</span>,
        csv: (r) => r.kind,
      },
      {
        id: 'task',
        header: t('event.task'),
        width: 90,
        cell: (r) => r.task && <GoLink to={`/tasks/${r.task}`}>{t('event.task')}</GoLink>,
        csv: (r) => r.task,
      },
    ],
    [t],
  )
  return (
    <ListView<EventRow>
      id={id}
      label={t('event.many')}
      source={source}
      columns={columns}
      fields={FIELDS}
      example="severity != info and kind ~ host"
      empty={t('event.none')}
    />
  )
}
