/** Adding a host: a join file, and what to do with it. */
import { Alert, Button, Form, Input, Select } from 'antd'
import { useState } from 'react'
import { api } from '../api/client'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { download } from '../ui/csv'
import { dateTime } from '../ui/format'
import { NameField } from '../ui/NameField'
import { Page } from '../ui/Page'
import { Code, Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'

/** The usual port on which managers listen for agents. */
const NODE_PORT = 8444

interface Values {
  name: string
  manager: string
  valid_s: number
}

export default function HostAddPage() {
  const t = useT()
  const [made, setMade] = useState<{ name: string; token: Schemas['JoinToken'] }>()
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const make = async (v: Values) => {
    setBusy(true)
    setError(undefined)
    try {
      const token = await api.post('/v1/host-join-tokens', {
        body: { host_name: v.name, manager: v.manager, valid_s: v.valid_s },
      })
      setMade({ name: v.name, token })
    } catch (e) {
      setError(e)
    } finally {
      setBusy(false)
    }
  }
  const valid = [900, 3600, 14_400, 86_400].map((s) => ({
    value: s,
    label: s < 3600 ? t('host.minutes', { count: s / 60 }) : t('host.hours', { count: s / 3600 }),
  }))
  return (
    <Page title={t('host.add')} crumbs={[{ label: t('host.many'), to: '/hosts' }]}>
      <div className="stack form-page">
        <Alert type="info" showIcon title={t('host.addHelp')} />
        <ProblemAlert error={error} />
        <Panel title={t('host.addMake')}>
          <Form
            layout="vertical"
            initialValues={{ manager: `${location.hostname}:${NODE_PORT}`, valid_s: 3600 }}
            onFinish={(v: Values) => void make(v)}
          >
            <NameField label={t('host.addName')} autoFocus />
            <Form.Item name="manager" label={t('host.addManager')} extra={t('host.addManagerHelp')}>
              <Input spellCheck={false} />
            </Form.Item>
            <Form.Item name="valid_s" label={t('host.addValid')}>
              <Select options={valid} style={{ width: 200 }} />
            </Form.Item>
            <Button type="primary" htmlType="submit" loading={busy}>
              {t('host.addMake')}
            </Button>
          </Form>
        </Panel>
        {made && <Made {...made} />}
      </div>
    </Page>
  )
}

function Made({ name, token }: { name: string; token: Schemas['JoinToken'] }) {
  const t = useT()
  return (
    <Panel title={t('host.addReady', { name, until: dateTime(token.expires_at) })}>
      <div className="stack">
        <div>
          <Button
            type="primary"
            onClick={() => download(`${name}.join`, new Blob([token.join_file], { type: 'application/octet-stream' }))}
          >
            {t('host.addSave')}
          </Button>
        </div>
        <span>{t('host.addThen')}</span>
        <Code text={`virga-agent run --join-file ${name}.join --listen 0.0.0.0:8445 --address ${name}:8445`} />
      </div>
    </Panel>
  )
}
