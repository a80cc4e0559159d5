/** All machines of the demo as small squares, rack by rack: filled by what is true, framed by what Virga knows. */
import { Button } from 'antd'
import { type MouseEvent, useMemo } from 'react'
import { hostTone } from '../host/HostState'
import { useT } from '../i18n'
import { Panel } from '../ui/Panel'
import type { Tone } from '../ui/Status'
import { faults, type Machine, racks } from './api'
import type { Seen } from './seen'

interface Props {
  machines: Machine[]
  seen: Seen
  chosen: ReadonlySet<string>
  setChosen: (names: ReadonlySet<string>) => void
}

export function Wall({ machines, seen, chosen, setChosen }: Props) {
  const t = useT()
  const byRack = useMemo(() => racks(machines), [machines])
  const choose = (names: string[], add: boolean) => {
    if (!add) {
      const same = names.length === chosen.size && names.every((n) => chosen.has(n))
      return setChosen(same ? new Set() : new Set(names))
    }
    const next = new Set(chosen)
    const all = names.every((n) => next.has(n))
    for (const n of names) all ? next.delete(n) : next.add(n)
    setChosen(next)
  }
  const broken = machines.filter((m) => faults(m).length > 0).map((m) => m.name)
  return (
    <Panel
      title={t('demo.wall')}
      extra={
        <>
          <Button size="small" onClick={() => setChosen(new Set(machines.map((m) => m.name)))}>
            {t('demo.chooseAll')}
          </Button>
          <Button size="small" disabled={broken.length === 0} onClick={() => setChosen(new Set(broken))}>
            {t('demo.chooseBroken')}
          </Button>
          <Button size="small" disabled={chosen.size === 0} onClick={() => setChosen(new Set())}>
            {t('demo.chooseNone')}
          </Button>
        </>
      }
    >
      <p className="dim" style={{ margin: '0 0 8px' }}>
        {t('demo.wallHelp')}
      </p>
      {byRack.map(([rack, of]) => (
        <div className="demo-rack" key={rack}>
          <button
            type="button"
            className="linkish mono"
            onClick={(e) =>
              choose(
                of.map((m) => m.name),
                e.shiftKey,
              )
            }
          >
            {rack}
          </button>
          <div className="demo-cells">
            {of.map((m) => (
              <Cell
                key={m.name}
                machine={m}
                seen={seen}
                chosen={chosen.has(m.name)}
                onClick={(e) => choose([m.name], e.shiftKey)}
              />
            ))}
          </div>
        </div>
      ))}
    </Panel>
  )
}

interface CellProps {
  machine: Machine
  seen: Seen
  chosen: boolean
  onClick: (e: MouseEvent) => void
}

function Cell({ machine: m, seen, chosen, onClick }: CellProps) {
  const t = useT()
  const found = faults(m)
  const truth: Tone = m.power === 'off' ? 'off' : found.length > 0 ? 'bad' : 'good'
  const host = seen.hosts.get(m.name)
  const knows: Tone = host ? hostTone(host) : 'off'
  const broken = found.map(([verb, state]) => `${t(`demo.${verb}`)} – ${t(`demo.is.${verb}-${state}` as 'demo.is.power-on')}`)
  const lines = [
    m.name,
    `${t('demo.truth')}: ${broken.join(', ') || t('demo.well')}; ${t('demo.running')}: ${t('demo.runningOf', { running: m.running, all: m.vms })}`,
    `${t('demo.known')}: ${host ? t(`host.state.${host.maintenance && host.state === 'up' ? 'maintenance' : host.state}`) : t('demo.notKnown')}`,
  ]
  return (
    <button
      type="button"
      className={`demo-cell ${truth} knows-${knows}`}
      aria-pressed={chosen}
      aria-label={lines.join('. ')}
      title={lines.join('\n')}
      data-testid={`machine-${m.name}`}
      data-truth={truth}
      data-knows={host?.state}
      onClick={onClick}
    />
  )
}
