/** What somebody should look at, each with the way to mend it. */
import type { Host } from '../host/api'
import { type Key, useT } from '../i18n'
import { GoLink } from '../ui/Link'
import { ObjectLink } from '../ui/ObjectLink'
import { Panel } from '../ui/Panel'
import { Status, type Tone } from '../ui/Status'
import { type Counts, failedFilter } from './api'

interface Item {
  key: string
  tone: Tone
  text: Key
  count: number
  fix: Key
  to: string
  /** Some of them, by name. */
  hosts?: Host[]
}
const NAMED_MAX = 4

function items(hosts: Host[], counts?: Counts): Item[] {
  const some = (pick: (h: Host) => boolean) => hosts.filter(pick)
  const silent = some((h) => h.state === 'silent')
  const maintenance = some((h) => h.maintenance)
  const memory = some((h) => !!h.facts.memory_bytes && h.memory_allocated_bytes > 0.9 * h.facts.memory_bytes)
  const storage = some((h) => !!h.facts.store_total_bytes && (h.facts.store_free_bytes ?? 0) < 0.1 * h.facts.store_total_bytes)
  const of = (key: string, tone: Tone, text: Key, fix: Key, to: string, count: number, named?: Host[]): Item => ({
    key,
    tone,
    text,
    fix,
    to,
    count,
    hosts: named,
  })
  return [
    of('silent', 'bad', 'overview.silent', 'overview.silentFix', '/hosts?sort=last_report_at', silent.length, silent),
    of('crashed', 'bad', 'overview.crashed', 'overview.crashedFix', '/vms?filter=state = crashed', counts?.crashed ?? 0),
    of(
      'unknown',
      'bad',
      'overview.unknown',
      'overview.unknownFix',
      '/vms?filter=state = unknown&sort=host',
      counts?.unknown ?? 0,
    ),
    of('drift', 'warn', 'overview.drift', 'overview.driftFix', '/vms?filter=drift = true', counts?.drift ?? 0),
    of('failed', 'warn', 'overview.failed', 'overview.failedFix', `/tasks?filter=${failedFilter()}`, counts?.failed ?? 0),
    of('memory', 'warn', 'overview.memoryLow', 'overview.memoryLowFix', '/hosts', memory.length, memory),
    of('storage', 'warn', 'overview.storageLow', 'overview.storageLowFix', '/hosts', storage.length, storage),
    of(
      'maintenance',
      'off',
      'overview.maintenance',
      'overview.maintenanceFix',
      '/hosts?filter=maintenance = true',
      maintenance.length,
      maintenance,
    ),
  ].filter((i) => i.count > 0)
}

export function Attention({ hosts, counts }: { hosts: Host[]; counts?: Counts }) {
  const t = useT()
  const found = items(hosts, counts)
  return (
    <Panel title={t('overview.attention')}>
      {found.length === 0 && counts && <Status tone="good">{t('overview.attentionNone')}</Status>}
      <div className="stack">
        {found.map((i) => (
          <div key={i.key} data-testid={`attention-${i.key}`}>
            <div className="row">
              <Status tone={i.tone}>{t(i.text, { count: i.count })}</Status>
              <span className="grow" />
              <GoLink to={i.to}>{t(i.fix)}</GoLink>
            </div>
            {i.hosts && (
              <div className="row wide" style={{ paddingLeft: 16 }}>
                {i.hosts.slice(0, NAMED_MAX).map((h) => (
                  <ObjectLink key={h.id} of={{ kind: 'host', id: h.id, name: h.name }} />
                ))}
                {i.hosts.length > NAMED_MAX && <span className="dim">+ {i.hosts.length - NAMED_MAX}</span>}
              </div>
            )}
          </div>
        ))}
      </div>
    </Panel>
  )
}
