/** All templates. */
import { useMemo } from 'react'
import { useT } from '../i18n'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { Page } from '../ui/Page'
import { templateActions } from './actions'
import { type Template, templateSource } from './api'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'cpus', kind: 'number' },
  { name: 'memory', kind: 'bytes' },
  { name: 'created_at', kind: 'time' },
]

export default function TemplateListPage() {
  const t = useT()
  const columns = useMemo(
    (): Column<Template>[] => [
      {
        id: 'name',
        header: t('template.name'),
        sort: 'name',
        cell: (r) => <GoLink to={`/templates/${r.id}`}>{r.name}</GoLink>,
        csv: (r) => r.name,
      },
      { id: 'host', header: t('template.host'), width: 160, cell: (r) => r.host?.name ?? '–', csv: (r) => r.host?.name },
      {
        id: 'cpus',
        header: t('template.cpus'),
        width: 90,
        numeric: true,
        sort: 'cpus',
        cell: (r) => r.spec.cpu.count,
        csv: (r) => r.spec.cpu.count,
      },
      {
        id: 'memory',
        header: t('template.memory'),
        width: 110,
        numeric: true,
        sort: 'memory',
        cell: (r) => size(r.spec.memory.bytes),
        csv: (r) => r.spec.memory.bytes,
      },
      { id: 'clones', header: t('template.clones'), width: 100, numeric: true, cell: (r) => r.clones, csv: (r) => r.clones },
      createdColumn(t('template.created')),
    ],
    [t],
  )
  return (
    <Page title={t('template.many')} flush>
      <ListView<Template>
        id="templates"
        label={t('template.many')}
        source={templateSource}
        columns={columns}
        fields={FIELDS}
        example="name ~ debian"
        defaultSort="name"
        actions={templateActions}
        open={(r) => `/templates/${r.id}`}
        empty={t('template.none')}
      />
    </Page>
  )
}
