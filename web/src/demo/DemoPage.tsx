/** Breaks the machines of a demo, and shows beside each what Virga knows of it. */
import { App, Button, Form, Segmented } from 'antd'
import { useMemo, useState } from 'react'
import { EventList } from '../event/EventList'
import { useT } from '../i18n'
import { said } from '../ui/ActionHost'
import { count } from '../ui/format'
import { ObjectSelect } from '../ui/ObjectSelect'
import { Page } from '../ui/Page'
import { Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import { findVms } from '../vm/api'
import { faults, guest, type Machine, SWITCHES, set, useMachines, type Verb } from './api'
import { type Seen, useSeen } from './seen'
import { Wall } from './Wall'

export default function DemoPage() {
  const t = useT()
  const { data: machines, error, refetch } = useMachines()
  const seen = useSeen()
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set())
  const all = machines ?? []
  return (
    <Page title={t('demo.many')}>
      <div className="stack">
        <ProblemAlert error={error} onRetry={() => void refetch()} />
        <p style={{ margin: 0 }}>{t('demo.about')}</p>
        <Figures machines={all} seen={seen} />
        <div className="demo-columns">
          <Wall machines={all} seen={seen} chosen={chosen} setChosen={setChosen} />
          <div className="stack">
            <Switches machines={all} chosen={chosen} />
            <Guest />
          </div>
        </div>
        <Panel title={t('demo.latest')}>
          <div style={{ height: 300, display: 'flex', flexDirection: 'column' }}>
            <EventList id="demo-events" />
          </div>
        </Panel>
      </div>
    </Page>
  )
}

function Figures({ machines, seen }: { machines: Machine[]; seen: Seen }) {
  const t = useT()
  const broken = machines.filter((m) => faults(m).length > 0).length
  const running = machines.reduce((n, m) => n + m.running, 0)
  const figures: [string, number | undefined, string, boolean][] = [
    ['broken', broken, t('demo.figureBroken'), true],
    ['running', running, t('demo.figureRunning'), true],
    ['silent', seen.silent, t('demo.figureSilent'), false],
    ['unknown', seen.unknown, t('demo.figureUnknown'), false],
    ['drift', seen.drift, t('demo.figureDrift'), false],
  ]
  return (
    <div className="figures">
      {figures.map(([key, value, label, truth]) => (
        <div className="figure" key={key} data-testid={`demo-${key}`}>
          <span>{t(truth ? 'demo.truth' : 'demo.known')}</span>
          <b>{count(value)}</b>
          <span>{label}</span>
        </div>
      ))}
    </div>
  )
}

/** The switches for the chosen machines. A switch shows a state when all of them are in it. */
function Switches({ machines, chosen }: { machines: Machine[]; chosen: ReadonlySet<string> }) {
  const t = useT()
  const { message } = App.useApp()
  const [busy, setBusy] = useState(false)
  const picked = useMemo(() => machines.filter((m) => chosen.has(m.name)), [machines, chosen])
  const target = picked.length === machines.length ? ('all' as const) : { hosts: picked.map((m) => m.name) }
  const state = (verb: Verb) => {
    const states = new Set(picked.map((m) => (verb === 'agent' ? (m.agent ? 'start' : 'kill') : m[verb])))
    return states.size === 1 ? [...states][0] : undefined
  }
  const run = async (work: [Verb, string][]) => {
    setBusy(true)
    try {
      for (const [verb, to] of work) {
        const n = await set(verb, target, to)
        const what = `${t(`demo.${verb}`)} – ${t(`demo.is.${verb}-${to}` as 'demo.is.power-on')}`
        if (work.length === 1) void message.success(t('demo.done', { what, count: n }))
      }
    } catch (e) {
      void message.error(said(e))
    } finally {
      setBusy(false)
    }
  }
  const verbs = Object.keys(SWITCHES) as Verb[]
  const off = picked.length === 0 || busy
  return (
    <Panel title={picked.length > 0 ? t('demo.chosen', { count: picked.length }) : t('demo.chosenNone')}>
      <div className="stack">
        {verbs.map((verb) => (
          <div key={verb} className="row">
            <span style={{ width: 76 }}>{t(`demo.${verb}`)}</span>
            <Segmented
              aria-label={t(`demo.${verb}`)}
              disabled={off}
              value={state(verb) ?? ''}
              onChange={(to) => void run([[verb, to]])}
              options={SWITCHES[verb].map((s) => ({
                value: s,
                label: <span data-testid={`${verb}-${s}`}>{t(`demo.is.${verb}-${s}` as 'demo.is.power-on')}</span>,
              }))}
            />
          </div>
        ))}
        <div>
          <Button type="primary" disabled={off} onClick={() => void run(verbs.map((v) => [v, SWITCHES[v][0]]))}>
            {t('demo.mend')}
          </Button>
        </div>
      </div>
    </Panel>
  )
}

function Guest() {
  const t = useT()
  const { message } = App.useApp()
  const [vm, setVm] = useState<string>()
  const happen = async (event: 'crash' | 'shutdown') => {
    if (!vm) return
    try {
      await guest(vm, event)
      void message.success(`${vm}: ${t(`demo.guest.${event}`)}`)
    } catch (e) {
      void message.error(said(e))
    }
  }
  return (
    <Panel title={t('demo.guest')}>
      <Form layout="vertical">
        <Form.Item label={t('demo.guestVm')} extra={t('demo.guestHelp')} htmlFor="demo-vm">
          <ObjectSelect id="demo-vm" kind="vm" find={findVms} by="name" value={vm} onChange={setVm} />
        </Form.Item>
        <div className="row wide">
          <Button danger disabled={!vm} onClick={() => void happen('crash')}>
            {t('demo.guest.crash')}
          </Button>
          <Button disabled={!vm} onClick={() => void happen('shutdown')}>
            {t('demo.guest.shutdown')}
          </Button>
        </div>
      </Form>
    </Panel>
  )
}
