/** A titled box, a list of facts, and text that can be copied. */
import { CopyOutlined } from '@ant-design/icons'
import { App, Button, Tooltip } from 'antd'
import type { ReactNode } from 'react'
import { useT } from '../i18n'
import { ago, dateTime } from './format'

export function Panel({ title, extra, children }: { title: ReactNode; extra?: ReactNode; children: ReactNode }) {
  return (
    <section className="panel">
      <header>
        <h2 className="grow clip">{title}</h2>
        {extra}
      </header>
      <div className="body">{children}</div>
    </section>
  )
}

/** Pairs of a word and a value; those without a value are left out. */
export function Facts({ items }: { items: [string, ReactNode][] }) {
  const shown = items.filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false)
  return (
    <dl className="facts">
      {shown.map(([label, value]) => (
        <Pair key={label} label={label} value={value} />
      ))}
    </dl>
  )
}

function Pair({ label, value }: { label: string; value: ReactNode }) {
  return (
    <>
      <dt>{label}</dt>
      <dd>{value}</dd>
    </>
  )
}

/** A time as it is said, with the exact one when it is pointed at. */
export function Time({ at }: { at: string | null | undefined }) {
  return (
    <time dateTime={at ?? undefined} title={dateTime(at)}>
      {ago(at)}
    </time>
  )
}

export function CopyButton({ text }: { text: string }) {
  const t = useT()
  const { message } = App.useApp()
  const copy = async () => {
    await navigator.clipboard.writeText(text)
    void message.success(t('ui.copied'))
  }
  return (
    <Tooltip title={t('ui.copy')}>
      <Button size="small" type="text" icon={<CopyOutlined />} aria-label={t('ui.copy')} onClick={() => void copy()} />
    </Tooltip>
  )
}

/** Text of a fixed width that can be copied. */
export function Code({ text }: { text: string }) {
  return (
    <div style={{ position: 'relative' }}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keys */}
      <pre className="code" tabIndex={0}>
        {text}
      </pre>
      <div style={{ position: 'absolute', top: 4, right: 4 }}>
        <CopyButton text={text} />
      </div>
    </div>
  )
}
