/** Signed statements about the chain of audit records: kept elsewhere, they show what was altered here. */
import { useMemo } from 'react'
import { api } from '../api/client'
import type { Fetch, ListSource } from '../api/list'
import type { Page as ApiPage, Schemas } from '../api/schema'
import { useT } from '../i18n'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { count, dateTime } from '../ui/format'
import { ListView } from '../ui/ListView'

type Row = Schemas['AuditAnchor'] & { id: string }

const fetch: Fetch<Row> = async (query, signal) => {
  const page = (await api.get('/v1/audit/anchors', { query, signal })) as ApiPage<Schemas['AuditAnchor']>
  return { ...page, items: page.items.map((r) => ({ ...r, id: String(r.seq) })) }
}
const SOURCE: ListSource<Row> = { kind: 'audit-anchor', fetch }
const FIELDS: FilterField[] = [
  { name: 'seq', kind: 'number' },
  { name: 'at', kind: 'time' },
]

export function AnchorList() {
  const t = useT()
  const columns = useMemo(
    (): Column<Row>[] => [
      { id: 'at', header: t('audit.at'), width: 180, cell: (r) => dateTime(r.at), csv: (r) => r.at },
      { id: 'seq', header: t('audit.seq'), width: 130, numeric: true, cell: (r) => count(r.seq), csv: (r) => r.seq },
      {
        id: 'pruned',
        header: t('audit.pruned'),
        width: 150,
        cell: (r) => (r.pruned ? t('ui.yes') : ''),
        csv: (r) => String(r.pruned),
      },
      { id: 'key', header: t('audit.key'), width: 190, cell: (r) => <span className="mono">{r.key}</span>, csv: (r) => r.key },
      {
        id: 'chain',
        header: t('audit.chain'),
        cell: (r) => (
          <span className="mono" title={r.chain}>
            {r.chain}
          </span>
        ),
        csv: (r) => r.chain,
      },
      {
        id: 'signature',
        header: t('audit.signature'),
        cell: (r) => (
          <span className="mono" title={r.signature}>
            {r.signature}
          </span>
        ),
        csv: (r) => r.signature,
      },
    ],
    [t],
  )
  return (
    <ListView<Row>
      id="anchors"
      label={t('audit.anchors')}
      source={SOURCE}
      columns={columns}
      fields={FIELDS}
      example="seq > 1000"
      empty={t('audit.anchorsNone')}
    />
  )
}
