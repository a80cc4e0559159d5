/** The installation itself. */
import { useT } from '../i18n'
import { count } from '../ui/format'
import { Page } from '../ui/Page'
import { Facts, Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import { Tag } from '../ui/Status'
import { useSystem } from './api'

export default function SystemPage() {
  const t = useT()
  const { data: s, error, refetch } = useSystem()
  return (
    <Page title={t('system.many')}>
      <ProblemAlert error={error} onRetry={() => void refetch()} />
      {s && (
        <div className="grid">
          <Panel title={t('system.about')}>
            <Facts
              items={[
                [t('system.version'), s.version],
                [t('system.administration'), s.administration && t(`system.administration.${s.administration}`)],
                [
                  t('system.capabilities'),
                  <span className="row wide tight" key="c">
                    {s.capabilities.map((c) => (
                      <Tag key={c}>{c}</Tag>
                    ))}
                  </span>,
                ],
              ]}
            />
          </Panel>
          <Panel title={t('system.figures')}>
            <Facts
              items={[
                [t('system.hosts'), t('system.hostsText', { up: count(s.hosts_up), all: count(s.hosts) })],
                [t('system.vms'), t('system.vmsText', { running: count(s.vms_running), all: count(s.vms) })],
                [t('system.tasks'), count(s.tasks_active)],
              ]}
            />
          </Panel>
          <Panel title={t('system.links')}>
            <Facts
              items={[
                [
                  t('system.docs'),
                  <a key="d" href="/docs" target="_blank" rel="noreferrer">
                    {'/docs'}
                  </a>,
                ],
                [
                  t('system.openapi'),
                  <a key="o" href="/v1/openapi.json" target="_blank" rel="noreferrer">
                    {'/v1/openapi.json'}
                  </a>,
                ],
                [
                  t('system.metrics'),
                  <a key="m" href="/metrics" target="_blank" rel="noreferrer">
                    {'/metrics'}
                  </a>,
                ],
              ]}
            />
          </Panel>
        </div>
      )}
    </Page>
  )
}
