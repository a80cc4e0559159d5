/** What a VM is, has and does, on one page. */
import { useQuery } from '@tanstack/react-query'
import { useEffect } from 'react'
import { useT } from '../i18n'
import { useNetworkNames } from '../network/api'
import { dateTime, duration, percent, rate, size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ObjectLink } from '../ui/ObjectLink'
import { Facts, Panel, Time } from '../ui/Panel'
import { Bar, Tag } from '../ui/Status'
import { stateOf, type Vm } from './api'
import { Notices } from './Notices'

/** A picture of the screen now and then; a console shows it as it moves. */
const PICTURE_MS = 10_000

export default function SummaryTab({ vm }: { vm: Vm }) {
  return (
    <div className="stack">
      <Notices vm={vm} />
      <div className="grid">
        <Usage vm={vm} />
        <General vm={vm} />
        <Hardware vm={vm} />
        <Guest vm={vm} />
        <Screen vm={vm} />
      </div>
    </div>
  )
}

function Usage({ vm }: { vm: Vm }) {
  const t = useT()
  const s = stateOf(vm) === 'running' ? vm.stats : undefined
  const memory = s ? s.memory_bytes / vm.spec.memory.bytes : 0
  const text = `${size(s?.memory_bytes)} / ${size(vm.spec.memory.bytes)}`
  return (
    <Panel title={t('vm.usage')} extra={<GoLink to={`/vms/${vm.id}/monitor`}>{t('vm.tab.monitor')}</GoLink>}>
      <div className="stack" style={{ gap: 8 }}>
        <div>
          <div className="row">
            <span className="grow dim">{t('vm.cpuUsed')}</span>
            {percent(s?.cpu)}
          </div>
          <Bar share={s?.cpu ?? 0} label={`${t('vm.cpuUsed')}: ${percent(s?.cpu)}`} />
        </div>
        <div>
          <div className="row">
            <span className="grow dim">{t('vm.memoryUsed')}</span>
            {text}
          </div>
          <Bar share={memory} label={`${t('vm.memoryUsed')}: ${text}`} />
        </div>
        <Facts
          items={[
            [t('ui.disk'), s && `↓ ${rate(s.disk_read_bytes)}  ↑ ${rate(s.disk_write_bytes)}`],
            [t('ui.network'), s && `↓ ${rate(s.net_in_bytes)}  ↑ ${rate(s.net_out_bytes)}`],
            [t('vm.started'), stateOf(vm) === 'running' && vm.observed.started_at && duration(vm.observed.started_at)],
          ]}
        />
      </div>
    </Panel>
  )
}

function General({ vm }: { vm: Vm }) {
  const t = useT()
  return (
    <Panel title={t('vm.general')}>
      <Facts
        items={[
          [t('vm.host'), vm.host && <ObjectLink of={vm.host} />],
          [t('vm.placement'), vm.placement],
          [t('vm.desired'), t(`vm.state.${vm.desired}`)],
          [t('vm.task'), vm.task && <ObjectLink of={{ ...vm.task, name: vm.task.name || t('task.one') }} />],
          [t('vm.owner'), vm.owner.name],
          [t('vm.description'), vm.description],
          [
            t('vm.labels'),
            <span key="l" className="row wide tight">
              {Object.entries(vm.labels).map(([k, v]) => (
                <Tag key={k}>{`${k}=${v}`}</Tag>
              ))}
              {Object.keys(vm.labels).length === 0 && <span className="dim">{t('vm.noLabels')}</span>}
            </span>,
          ],
          [t('vm.created'), dateTime(vm.created_at)],
          [t('vm.updated'), <Time key="u" at={vm.updated_at} />],
          [
            t('vm.id'),
            <span key="i" className="mono">
              {vm.id}
            </span>,
          ],
        ]}
      />
    </Panel>
  )
}

/** A CPU mode as it is written. */
export function cpuMode(vm: Vm): string {
  const mode = vm.spec.cpu.mode
  if (!mode) return ''
  return mode.mode === 'custom' ? `custom: ${mode.model}` : mode.mode
}

function Hardware({ vm }: { vm: Vm }) {
  const t = useT()
  const networkName = useNetworkNames()
  const { cpu, memory, disks = [], nics = [], cdroms = [] } = vm.spec
  return (
    <Panel title={t('vm.hardware')} extra={<GoLink to={`/vms/${vm.id}/configure`}>{t('vm.tab.configure')}</GoLink>}>
      <Facts
        items={[
          [t('vm.cpus'), `${cpu.count}${cpu.max ? ` → ${cpu.max}` : ''}`],
          [t('vm.memory'), `${size(memory.bytes)}${memory.max_bytes ? ` → ${size(memory.max_bytes)}` : ''}`],
          [t('vm.cpuMode'), cpuMode(vm)],
          [t('vm.tab.disks'), disks.map((d) => size(d.size_bytes)).join(', ') || t('vm.diskNone')],
          [t('vm.cdroms'), cdroms.length > 0 && cdroms.length],
          [
            t('vm.tab.nics'),
            nics.length > 0
              ? nics.map((n) => (
                  <span key={n.id} className="row tight">
                    <span className="mono">{n.mac}</span>{' '}
                    <ObjectLink of={{ kind: 'network', id: n.network, name: networkName(n.network) }} plain />
                  </span>
                ))
              : t('vm.nicNone'),
          ],
          [t('vm.firmware'), vm.spec.firmware && t(`vm.firmware.${vm.spec.firmware}`)],
          [t('vm.machine'), vm.spec.machine ?? vm.observed.machine],
          [t('vm.accelerator'), vm.observed.accelerator],
        ]}
      />
    </Panel>
  )
}

function Guest({ vm }: { vm: Vm }) {
  const t = useT()
  const g = vm.observed.guest
  return (
    <Panel title={t('vm.guest')}>
      <Facts
        items={[
          [t('vm.agent'), t(`vm.agent.${g?.agent ?? 'not_running'}`)],
          [t('vm.os'), g?.os],
          [t('vm.kernel'), g?.kernel],
          [t('vm.hostName'), g?.host_name],
          [t('vm.ips'), g?.ips?.join(', ')],
          [
            t('vm.fileSystems'),
            g?.file_systems?.map((f) => (
              <div key={f.mount_point}>
                <span className="mono">{f.mount_point}</span> {size(f.used_bytes)} / {size(f.total_bytes)}
              </div>
            )),
          ],
        ]}
      />
    </Panel>
  )
}

function Screen({ vm }: { vm: Vm }) {
  const t = useT()
  const visible = stateOf(vm) === 'running' || stateOf(vm) === 'paused'
  const picture = useQuery({
    queryKey: ['vm', 'picture', vm.id],
    enabled: visible,
    refetchInterval: PICTURE_MS,
    retry: false,
    queryFn: async ({ signal }) => {
      const answer = await fetch(`/v1/vms/${vm.id}/screenshot`, { signal })
      return answer.ok ? URL.createObjectURL(await answer.blob()) : null
    },
  }).data
  useEffect(() => () => URL.revokeObjectURL(picture ?? ''), [picture])
  return (
    <Panel title={t('vm.screen')} extra={visible && <GoLink to={`/vms/${vm.id}/console`}>{t('vm.act.console')}</GoLink>}>
      {visible && picture ? (
        <GoLink to={`/vms/${vm.id}/console`}>
          <img
            src={picture}
            alt={t('vm.screen')}
            style={{ width: '100%', maxHeight: 220, objectFit: 'contain', background: '#000', display: 'block' }}
          />
        </GoLink>
      ) : (
        <div className="empty">{t('vm.screenNone')}</div>
      )}
    </Panel>
  )
}
