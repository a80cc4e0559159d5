/** Audit records: who did what, from where, and what came of it. */
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { App, Button, Form, InputNumber, Popover, Segmented } from 'antd'
import { useMemo } from 'react'
import { api } from '../api/client'
import type { Fetch, ListSource } from '../api/list'
import { useCan } from '../api/rights'
import type { Page as ApiPage, Schemas } from '../api/schema'
import { useT } from '../i18n'
import { said } from '../ui/ActionHost'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { dateTime } from '../ui/format'
import { ListView } from '../ui/ListView'
import { ObjectLink } from '../ui/ObjectLink'
import { Page } from '../ui/Page'
import { Status } from '../ui/Status'
import { useUrlState } from '../ui/urlState'
import { AnchorList } from './AnchorList'

type Row = Omit<Schemas['AuditRecord'], 'id'> & { id: string }

const fetch: Fetch<Row> = async (query, signal) => {
  const page = (await api.get('/v1/audit', { query, signal })) as ApiPage<Schemas['AuditRecord']>
  return { ...page, items: page.items.map((r) => ({ ...r, id: String(r.id) })) }
}
const SOURCE: ListSource<Row> = { kind: 'audit', fetch, also: ['event'] }
const FIELDS: FilterField[] = [
  { name: 'actor' },
  { name: 'operation' },
  { name: 'object' },
  { name: 'object_kind' },
  { name: 'result' },
  { name: 'source' },
  { name: 'request_id' },
  { name: 'at', kind: 'time' },
]

export default function AuditListPage() {
  const t = useT()
  const [search, setSearch] = useUrlState()
  const anchors = search.show === 'anchors'
  const columns = useMemo(
    (): Column<Row>[] => [
      { id: 'at', header: t('audit.at'), width: 180, sort: 'at', cell: (r) => dateTime(r.at), csv: (r) => r.at },
      { id: 'actor', header: t('audit.actor'), width: 120, cell: (r) => r.actor, csv: (r) => r.actor },
      {
        id: 'operation',
        header: t('audit.operation'),
        width: 160,
        cell: (r) => <span className="mono">{r.operation}</span>,
        csv: (r) => r.operation,
      },
      {
        id: 'object',
        header: t('audit.object'),
        width: 180,
        cell: (r) => <ObjectLink of={r.object} />,
        csv: (r) => r.object.name ?? r.object.id,
      },
      {
        id: 'result',
        header: t('audit.result'),
        width: 120,
        cell: (r) => <Status tone={r.result === 'ok' ? 'good' : 'bad'}>{r.result}</Status>,
        csv: (r) => r.result,
      },
      { id: 'detail', header: t('audit.detail'), cell: (r) => <span title={r.detail}>{r.detail}</span>, csv: (r) => r.detail },
      { id: 'source', header: t('audit.source'), width: 130, cell: (r) => r.source, csv: (r) => r.source },
      {
        id: 'request',
        header: t('audit.request'),
        width: 290,
        optional: true,
        cell: (r) => <span className="mono">{r.request_id}</span>,
        csv: (r) => r.request_id,
      },
    ],
    [t],
  )
  return (
    <Page title={t('audit.many')} flush extra={<Tools />}>
      <div className="toolbar">
        <Segmented
          aria-label={t('audit.many')}
          value={anchors ? 'anchors' : 'records'}
          onChange={(v) => setSearch({ show: v === 'anchors' ? v : undefined, filter: undefined, sort: undefined })}
          options={[
            { value: 'records', label: t('audit.records') },
            { value: 'anchors', label: t('audit.anchors') },
          ]}
        />
      </div>
      {anchors ? (
        <AnchorList />
      ) : (
        <ListView<Row>
          id="audit"
          label={t('audit.records')}
          source={SOURCE}
          columns={columns}
          fields={FIELDS}
          example="result != ok and actor = admin"
        />
      )}
    </Page>
  )
}

function Tools() {
  const t = useT()
  const can = useCan()
  const kept = useQuery({
    queryKey: ['audit', 'retention'],
    queryFn: ({ signal }) => api.get('/v1/audit/retention', { signal }),
  }).data
  return (
    <div className="row">
      {kept && (
        <Popover trigger="click" placement="bottomRight" content={<Retention days={kept.days} disabled={!can('audit_manage')} />}>
          <Button>
            {t('audit.retention')} {t('audit.days', { count: kept.days })}
          </Button>
        </Popover>
      )}
      <Button href="/v1/audit/export" download="audit.jsonl" title={t('audit.exportHelp')}>
        {t('audit.export')}
      </Button>
    </div>
  )
}

function Retention({ days, disabled }: { days: number; disabled: boolean }) {
  const t = useT()
  const client = useQueryClient()
  const { message } = App.useApp()
  const set = async (value: { days: number }) => {
    try {
      await api.put('/v1/audit/retention', { body: value })
      await client.invalidateQueries({ queryKey: ['audit', 'retention'] })
    } catch (e) {
      void message.error(said(e))
    }
  }
  return (
    <Form layout="vertical" style={{ width: 260 }} initialValues={{ days }} onFinish={(v) => void set(v)} disabled={disabled}>
      <Form.Item name="days" label={t('audit.daysField')} extra={t('audit.retentionHelp')}>
        <InputNumber min={1} precision={0} />
      </Form.Item>
      <Button htmlType="submit" type="primary">
        {t('audit.retentionSave')}
      </Button>
    </Form>
  )
}
