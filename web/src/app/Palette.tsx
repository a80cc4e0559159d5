/** The search over everything, by Ctrl-K: objects of every noun, and pages. */
import { PlusOutlined } from '@ant-design/icons'
import { useQuery } from '@tanstack/react-query'
import { Input, type InputRef, Modal } from 'antd'
import { type KeyboardEvent, type ReactNode, useDeferredValue, useMemo, useRef, useState } from 'react'
import { rightsNow, useCan } from '../api/rights'
import { useT } from '../i18n'
import { useAble } from '../system/api'
import { useGo } from '../ui/Link'
import { nouns } from './nouns'

interface Hit {
  key: string
  to: string
  icon: ReactNode
  label: string
}
interface Group {
  title: string
  hits: Hit[]
}

/** Objects of one noun that are asked for. */
const HITS_MAX = 6

async function find(text: string, signal: AbortSignal) {
  const searched = nouns.filter((n) => n.find && (!n.privilege || rightsNow().has(n.privilege)))
  // One noun that cannot be asked does not hide the others.
  const found = await Promise.allSettled(searched.map((n) => n.find?.(text, signal) ?? []))
  return searched.map((noun, i) => {
    const result = found[i]
    return { noun, objects: result?.status === 'fulfilled' ? result.value.slice(0, HITS_MAX) : [] }
  })
}

export default function Palette({ close }: { close: () => void }) {
  const t = useT()
  const go = useGo()
  const can = useCan()
  const able = useAble()
  const input = useRef<InputRef>(null)
  const [typed, setTyped] = useState('')
  const [at, setAt] = useState(0)
  const text = useDeferredValue(typed.trim())
  const query = useQuery({
    queryKey: ['search', text],
    queryFn: ({ signal }) => find(text, signal),
    enabled: text !== '',
    placeholderData: (old) => old,
  })
  const groups = useMemo((): Group[] => {
    const lower = text.toLowerCase()
    const pages = nouns
      .filter((n) => n.menu && can(n.privilege) && able(n.capability) && t(n.label).toLowerCase().includes(lower))
      .map((n) => ({ key: `page-${n.kind}`, to: n.menu?.to ?? '/', icon: n.icon, label: t(n.label) }))
    const commands = nouns.flatMap((n) =>
      (n.commands ?? [])
        .filter((c) => can(c.privilege) && t(c.label).toLowerCase().includes(lower))
        .map((c) => ({ key: `do-${c.to}`, to: c.to, icon: <PlusOutlined />, label: t(c.label) })),
    )
    const objects = text
      ? (query.data ?? []).map(({ noun, objects }) => ({
          title: t(noun.label),
          hits: objects.map((o) => ({ key: o.id, to: o.to ?? noun.path?.(o.id) ?? '/', icon: noun.icon, label: o.name ?? o.id })),
        }))
      : []
    return [...objects, { title: t('app.searchCommands'), hits: commands }, { title: t('app.searchPages'), hits: pages }].filter(
      (g) => g.hits.length > 0,
    )
  }, [text, query.data, can, able, t])
  const hits = groups.flatMap((g) => g.hits)
  const chosen = Math.min(at, hits.length - 1)
  const open = (hit?: Hit) => {
    if (!hit) return
    close()
    go(hit.to)
  }
  const press = (e: KeyboardEvent) => {
    if (e.key === 'ArrowDown') setAt((chosen + 1) % Math.max(1, hits.length))
    else if (e.key === 'ArrowUp') setAt((chosen - 1 + hits.length) % Math.max(1, hits.length))
    else if (e.key === 'Enter') open(hits[chosen])
    else return
    e.preventDefault()
  }
  return (
    <Modal
      open
      onCancel={close}
      footer={<span className="dim">{t('app.searchKeys')}</span>}
      closable={false}
      title={null}
      width={560}
      style={{ top: 70 }}
      afterOpenChange={(o) => o && input.current?.focus()}
    >
      <Input
        ref={input}
        size="large"
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-hits"
        aria-activedescendant={hits[chosen] ? `hit-${hits[chosen].key}` : undefined}
        aria-label={t('app.searchHint')}
        placeholder={t('app.searchPlaceholder')}
        value={typed}
        maxLength={200}
        onChange={(e) => {
          setTyped(e.target.value)
          setAt(0)
        }}
        onKeyDown={press}
      />
      <div id="palette-hits" role="listbox" aria-label={t('app.search')} className="palette-list">
        {groups.map((g) => (
          // biome-ignore lint/a11y/useSemanticElements: a group of options
          <div key={g.title} role="group" aria-label={g.title}>
            <div className="head" aria-hidden="true">
              {g.title}
            </div>
            {g.hits.map((h) => (
              // biome-ignore lint/a11y/useKeyWithClickEvents: the field takes the keys
              // biome-ignore lint/a11y/useFocusableInteractive: the field keeps the focus
              <div
                key={h.key}
                id={`hit-${h.key}`}
                role="option"
                aria-selected={hits[chosen] === h}
                className="palette-item"
                onClick={() => open(h)}
              >
                <span className="dim" aria-hidden="true">
                  {h.icon}
                </span>
                <span className="clip">{h.label}</span>
              </div>
            ))}
          </div>
        ))}
      </div>
      {text && hits.length === 0 && !query.isFetching && <div className="empty">{t('app.searchNothing', { text })}</div>}
    </Modal>
  )
}
