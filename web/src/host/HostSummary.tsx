/** What a host is and has. */
import { useT } from '../i18n'
import { count, dateTime, percent, size } from '../ui/format'
import { Facts, Panel, Time } from '../ui/Panel'
import { Plain } from '../ui/Plain'
import { Bar } from '../ui/Status'
import type { Host } from './api'

export function HostSummary({ host }: { host: Host }) {
  const f = host.facts
  const t = useT()
  return (
    <div className="grid">
      <Capacity host={host} />
      <Panel title={t('host.system')}>
        <Facts
          items={[
            [
              t('host.accelerator'),
              f.accelerator && `${f.accelerator}${f.accelerator_why ? ` (${t('host.why')} ${f.accelerator_why})` : ''}`,
            ],
            [t('host.os'), f.os],
            [t('host.kernel'), f.kernel],
            [t('host.confinement'), f.confinement],
            [t('host.ovs'), t(f.ovs ? 'ui.yes' : 'ui.no')],
            [t('host.uefi'), t(f.uefi ? 'ui.yes' : 'ui.no')],
            [
              t('host.versions'),
              Object.entries(f.versions ?? {})
                .map(([name, version]) => `${name} ${version}`)
                .join(', '),
            ],
            [
              t('host.address'),
              <span className="mono" key="a">
                {host.address}
              </span>,
            ],
            [t('host.report'), <Time key="r" at={host.last_report_at} />],
            [t('host.created'), dateTime(host.created_at)],
          ]}
        />
      </Panel>
      <Hardware host={host} />
    </div>
  )
}

function Capacity({ host }: { host: Host }) {
  const t = useT()
  const f = host.facts
  const total = f.memory_bytes ?? 0
  const store = f.store_total_bytes ?? 0
  const lines: [string, number, string][] = [
    [t('host.cpuUsed'), host.stats?.cpu ?? 0, percent(host.stats?.cpu)],
    [
      t('host.memoryUsed'),
      total ? (host.stats?.memory_bytes ?? 0) / total : 0,
      t('host.memoryOf', { used: size(host.stats?.memory_bytes), total: size(total) }),
    ],
    [
      t('host.memoryAllocated'),
      total ? host.memory_allocated_bytes / total : 0,
      t('host.memoryOf', { used: size(host.memory_allocated_bytes), total: size(total) }),
    ],
    [
      t('host.storage'),
      store ? 1 - (f.store_free_bytes ?? 0) / store : 0,
      t('host.storageOf', { free: size(f.store_free_bytes), total: size(store) }),
    ],
  ]
  return (
    <Panel title={`${t('host.vms')}: ${count(host.vms)}`}>
      <div className="stack">
        {lines.map(([label, share, text]) => (
          <div key={label}>
            <div className="row">
              <span className="grow dim">{label}</span>
              <span>{text}</span>
            </div>
            <Bar share={share} label={`${label}: ${text}`} />
          </div>
        ))}
      </div>
    </Panel>
  )
}

function Hardware({ host }: { host: Host }) {
  const t = useT()
  const { cpu, nics, disks, numa, foreign_vms: foreign } = host.facts
  return (
    <>
      <Panel title={t('host.hardware')}>
        <Facts
          items={[
            [
              t('host.processors'),
              cpu &&
                t('host.processorsText', {
                  model: cpu.model,
                  sockets: cpu.sockets,
                  cores: cpu.cores,
                  logical: cpu.logical,
                  mhz: cpu.mhz,
                }),
            ],
            [t('host.memory'), size(host.facts.memory_bytes)],
            [t('host.numa'), numa?.map((n) => `${n.id}: ${size(n.memory_bytes)}, ${n.cpus.length} CPU`).join('; ')],
          ]}
        />
      </Panel>
      {!!nics?.length && (
        <Panel title={t('host.nics')}>
          <Plain
            label={t('host.nics')}
            rows={nics}
            id={(n) => n.name}
            columns={[
              [t('host.name'), (n) => n.name],
              [t('host.state'), (n) => t(n.up ? 'host.state.up' : 'ui.no')],
              [t('host.speed'), (n) => (n.speed_mbit ? `${n.speed_mbit} Mbit/s` : '–')],
              [t('host.mac'), (n) => <span className="mono">{n.mac}</span>],
              [t('host.addresses'), (n) => n.addresses?.join(', ')],
            ]}
          />
        </Panel>
      )}
      {!!disks?.length && (
        <Panel title={t('host.disks')}>
          <Plain
            label={t('host.disks')}
            rows={disks}
            id={(d) => d.name}
            columns={[
              [t('host.name'), (d) => d.name],
              [t('host.model'), (d) => d.model],
              [t('host.size'), (d) => size(d.size_bytes)],
              ['', (d) => t(d.rotational ? 'host.rotational' : 'host.solid')],
            ]}
          />
        </Panel>
      )}
      {!!foreign?.length && (
        <Panel title={t('host.foreign')}>
          <p className="dim">{t('host.foreignHelp')}</p>
          <Plain
            label={t('host.foreign')}
            rows={foreign}
            id={(v) => v.uuid}
            columns={[
              [t('host.name'), (v) => v.name],
              [t('host.state'), (v) => v.state],
              [t('host.memory'), (v) => size(v.memory_bytes)],
            ]}
          />
        </Panel>
      )}
    </>
  )
}
