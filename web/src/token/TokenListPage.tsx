/** API tokens: one's own, and for account managers everybody's. */
import { DeleteOutlined, PlusOutlined } from '@ant-design/icons'
import { Alert, Button, Form, Modal, Select } from 'antd'
import { useMemo, useState } from 'react'
import { api } from '../api/client'
import type { ListSource } from '../api/list'
import { keys, queryClient } from '../api/query'
import type { Page as ApiPage, Schemas } from '../api/schema'
import { useT } from '../i18n'
import { RoleSelect } from '../role/RoleSelect'
import { ScopeText } from '../role/ScopeText'
import type { Action } from '../ui/action'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { FormDialog } from '../ui/FormDialog'
import { dateTime } from '../ui/format'
import { ListView } from '../ui/ListView'
import { NameField } from '../ui/NameField'
import { ObjectLink } from '../ui/ObjectLink'
import { Page } from '../ui/Page'
import { Code, Time } from '../ui/Panel'

type Token = Schemas['ApiToken']
const SOURCE: ListSource<Token> = {
  kind: 'token',
  fetch: (query, signal) => api.get('/v1/tokens', { query, signal }) as Promise<ApiPage<Token>>,
}
const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'user' },
  { name: 'expires_at', kind: 'time' },
  { name: 'used_at', kind: 'time' },
  { name: 'created_at', kind: 'time' },
]
const reread = () => queryClient.invalidateQueries({ queryKey: keys.all('token') })

const ACTIONS: Action<Token>[] = [
  {
    id: 'delete',
    label: 'token.delete',
    icon: <DeleteOutlined />,
    group: 1,
    danger: true,
    confirm: (tokens, t) => ({ text: t('token.deleteText', { names: tokens.map((x) => x.name).join(', ') }) }),
    run: async (x) => {
      await api.delete('/v1/tokens/{token}', { path: { token: x.id } })
      await reread()
      return undefined
    },
  },
]

export default function TokenListPage() {
  const t = useT()
  const [creating, setCreating] = useState(false)
  const [made, setMade] = useState<Schemas['ApiTokenCreated']>()
  const columns = useMemo(
    (): Column<Token>[] => [
      { id: 'name', header: t('token.name'), sort: 'name', cell: (r) => r.name, csv: (r) => r.name },
      {
        id: 'user',
        header: t('token.user'),
        width: 160,
        sort: 'user',
        cell: (r) => <ObjectLink of={r.user} />,
        csv: (r) => r.user.name,
      },
      { id: 'role', header: t('token.role'), width: 130, cell: (r) => r.role ?? '–', csv: (r) => r.role },
      {
        id: 'scope',
        header: t('token.scope'),
        width: 180,
        cell: (r) => r.scope && <ScopeText scope={r.scope} />,
        csv: (r) => r.scope?.scope,
      },
      {
        id: 'used',
        header: t('token.used'),
        width: 140,
        sort: 'used_at',
        cell: (r) => (r.used_at ? <Time at={r.used_at} /> : t('token.never')),
        csv: (r) => r.used_at,
      },
      {
        id: 'expires',
        header: t('token.expires'),
        width: 180,
        sort: 'expires_at',
        cell: (r) => dateTime(r.expires_at),
        csv: (r) => r.expires_at,
      },
      createdColumn(t('token.created'), { optional: true }),
    ],
    [t],
  )
  return (
    <Page title={t('token.many')} flush>
      <ListView<Token>
        id="tokens"
        label={t('token.many')}
        source={SOURCE}
        columns={columns}
        fields={FIELDS}
        example="expires_at < 2030-01-01"
        defaultSort="name"
        actions={ACTIONS}
        empty={t('token.none')}
        primary={
          <Button type="primary" icon={<PlusOutlined />} onClick={() => setCreating(true)}>
            {t('token.create')}
          </Button>
        }
      />
      {creating && <CreateToken close={() => setCreating(false)} onMade={setMade} />}
      {made && (
        <Modal
          open
          title={t('token.madeTitle', { name: made.token.name })}
          onCancel={() => setMade(undefined)}
          onOk={() => setMade(undefined)}
          okText={t('ui.close')}
          cancelButtonProps={{ hidden: true }}
        >
          <div className="stack">
            <Alert type="warning" showIcon title={t('token.madeHelp')} />
            <Code text={made.secret} />
          </div>
        </Modal>
      )}
    </Page>
  )
}

interface Values {
  name: string
  valid_s: number
  role?: Schemas['Role']
}
const DAY_S = 86_400

function CreateToken({ close, onMade }: { close: () => void; onMade: (made: Schemas['ApiTokenCreated']) => void }) {
  const t = useT()
  const submit = async (v: Values) => {
    onMade(await api.post('/v1/tokens', { body: { name: v.name, valid_s: v.valid_s, role: v.role ?? null } }))
    await reread()
  }
  return (
    <FormDialog<Values>
      title={t('token.create')}
      ok={t('ui.create')}
      initial={{ valid_s: 30 * DAY_S }}
      close={close}
      submit={submit}
    >
      <NameField label={t('token.name')} autoFocus />
      <Form.Item name="valid_s" label={t('token.valid')}>
        <Select options={[1, 7, 30, 90, 365].map((d) => ({ value: d * DAY_S, label: t('token.days', { count: d }) }))} />
      </Form.Item>
      <Form.Item name="role" label={t('token.role')} extra={t('token.roleHelp')}>
        <RoleSelect allowClear />
      </Form.Item>
    </FormDialog>
  )
}
