/** The question before an action: whom it meets, what will be lost, and for several objects what becomes of each. */
import { Checkbox, Form, Input, Modal } from 'antd'
import { useEffect, useMemo, useState } from 'react'
import { type Key, useT } from '../i18n'
import { type Perform, said } from './ActionHost'
import type { Action, Choices, Named } from './action'
import { ProblemAlert } from './ProblemAlert'
import { Status } from './Status'

interface Props {
  action: Action<Named>
  objects: Named[]
  close: () => void
  perform: Perform
}

type Fate = { state: 'will' | 'refused' | 'doing' | 'done' | 'failed'; why?: string }
/** Requests under way at the same time when several objects are done one by one. */
const AT_ONCE = 4
/** Objects that the dialog lists; the rest is counted. */
const LISTED_MAX = 200

export function ActionDialog({ action, objects, close, perform }: Props) {
  const t = useT()
  const question = useMemo(() => action.confirm?.(objects, t), [action, objects, t])
  const [choices, setChoices] = useState<Choices>({})
  const [typed, setTyped] = useState('')
  const [fates, setFates] = useState<Map<string, Fate>>(new Map())
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const [ended, setEnded] = useState(false)
  const many = objects.length > 1
  const first = objects[0]
  const name = many ? String(objects.length) : (first?.name ?? first?.id ?? '')

  usePreview({ action, objects, choices, setFates, setError, off: ended || busy })
  const able = objects.filter((o) => fates.get(o.id)?.state !== 'refused')
  const failed = objects.filter((o) => fates.get(o.id)?.state === 'failed')

  const doIt = async (chosen: Named[]) => {
    setBusy(true)
    setError(undefined)
    try {
      if (!many && first) {
        const e = await perform(action, first, choices)
        if (e) return setError(e)
        return close()
      }
      await doMany(action, chosen, choices, setFates)
      setEnded(true)
    } catch (e) {
      setError(e)
    } finally {
      setBusy(false)
    }
  }
  const typedRight = !question?.typeName || typed === name
  return (
    <Modal
      open
      title={
        many
          ? t('ui.startedMany', { action: t(action.label), count: objects.length })
          : t('ui.started', { action: t(action.label), name })
      }
      onCancel={close}
      okText={ended ? (failed.length > 0 ? t('ui.retryFailed') : t('ui.close')) : t(action.label)}
      cancelText={t('ui.cancel')}
      okButtonProps={{ danger: action.danger && !ended, disabled: !typedRight || (!ended && able.length === 0), loading: busy }}
      onOk={() => (ended ? (failed.length > 0 ? void doIt(failed) : close()) : void doIt(able))}
      width={many ? 640 : 480}
    >
      <div className="stack">
        {question && (
          <p className="wrap" style={{ margin: 0 }}>
            {question.text}
          </p>
        )}
        {question?.options?.map((o) => (
          <Checkbox
            key={o.key}
            checked={!!choices[o.key]}
            disabled={ended}
            onChange={(e) => setChoices({ ...choices, [o.key]: e.target.checked })}
          >
            {t(o.label)}
          </Checkbox>
        ))}
        {many && <Fates objects={objects} fates={fates} able={able.length} />}
        {question?.typeName && !ended && (
          <Form layout="vertical" onFinish={() => typedRight && void doIt(able)}>
            <Form.Item label={t('ui.typeName', { name })} style={{ margin: 0 }} htmlFor="action-name">
              <Input id="action-name" autoComplete="off" autoFocus value={typed} onChange={(e) => setTyped(e.target.value)} />
            </Form.Item>
          </Form>
        )}
        <ProblemAlert error={error} />
      </div>
    </Modal>
  )
}

/** Asks which of the objects would be refused, and why. */
function usePreview(p: {
  action: Action<Named>
  objects: Named[]
  choices: Choices
  setFates: (f: Map<string, Fate>) => void
  setError: (e: unknown) => void
  off: boolean
}) {
  const t = useT()
  const { action, objects, choices, setFates, setError, off } = p
  useEffect(() => {
    if (off) return
    let gone = false
    const own = new Map<string, Fate>()
    for (const o of objects) {
      const why: Key | undefined = action.refused?.(o)
      own.set(o.id, why ? { state: 'refused', why: t(why) } : { state: 'will' })
    }
    setFates(own)
    if (objects.length > 1 && action.preview) {
      action
        .preview(objects, choices)
        .then((refused) => {
          if (gone) return
          setFates(
            new Map(
              objects.map((o) => [o.id, refused.has(o.id) ? { state: 'refused', why: refused.get(o.id) } : { state: 'will' }]),
            ),
          )
        })
        .catch((e: unknown) => !gone && setError(e))
    }
    return () => {
      gone = true
    }
  }, [action, objects, choices, off])
}

async function doMany(
  action: Action<Named>,
  objects: Named[],
  choices: Choices,
  set: React.Dispatch<React.SetStateAction<Map<string, Fate>>>,
) {
  const put = (id: string, fate: Fate) => set((old) => new Map(old).set(id, fate))
  for (const o of objects) put(o.id, { state: 'doing' })
  if (action.runMany) {
    const refused = await action.runMany(objects, choices)
    for (const o of objects) put(o.id, refused.has(o.id) ? { state: 'failed', why: refused.get(o.id) } : { state: 'done' })
    return
  }
  const queue = [...objects]
  const worker = async () => {
    for (let o = queue.shift(); o; o = queue.shift()) {
      try {
        await action.run?.(o, choices)
        put(o.id, { state: 'done' })
      } catch (e) {
        put(o.id, { state: 'failed', why: said(e) })
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

function Fates({ objects, fates, able }: { objects: Named[]; fates: Map<string, Fate>; able: number }) {
  const t = useT()
  return (
    <div>
      <div className="dim" style={{ marginBottom: 4 }}>
        {t('ui.previewSome', { yes: able, all: objects.length })}
      </div>
      <div className="table-wrap plain" style={{ maxHeight: 280 }}>
        <table className="data" aria-label={t('ui.previewTitle')}>
          <tbody>
            {objects.slice(0, LISTED_MAX).map((o) => (
              <tr key={o.id}>
                <td style={{ width: '40%' }}>{o.name ?? o.id}</td>
                <td>
                  <FateText fate={fates.get(o.id)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {objects.length > LISTED_MAX && <div className="dim">+ {objects.length - LISTED_MAX}</div>}
    </div>
  )
}

function FateText({ fate }: { fate?: Fate }) {
  const t = useT()
  if (!fate || fate.state === 'will') return <Status tone="off">{t('ui.willDo')}</Status>
  if (fate.state === 'doing') return <Status tone="busy">{t('ui.doing')}</Status>
  if (fate.state === 'done') return <Status tone="good">{t('ui.done')}</Status>
  const text = t('ui.wontDo', { why: fate.why ?? '' })
  return (
    <Status tone={fate.state === 'failed' ? 'bad' : 'warn'} title={text}>
      {text}
    </Status>
  )
}
