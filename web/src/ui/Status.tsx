/** A state: a dot whose form and colour differ, and the word. */
import type { ReactNode } from 'react'

export type Tone = 'good' | 'warn' | 'bad' | 'off' | 'busy'

export function Status({ tone, children, stale, title }: { tone: Tone; children: ReactNode; stale?: boolean; title?: string }) {
  return (
    <span className={`state ${tone}${stale ? ' stale' : ''}`} title={title}>
      <i aria-hidden="true" />
      <span className="clip">{children}</span>
    </span>
  )
}

export function Tag({ tone, children }: { tone?: Tone; children: ReactNode }) {
  return <span className={`tag ${tone ?? ''}`}>{children}</span>
}

/** A share as a bar; warns above three quarters, alarms above nine tenths. */
export function Bar({ share, label }: { share: number; label: string }) {
  const kept = Math.max(0, Math.min(1, share))
  return (
    <div className={`bar ${kept > 0.9 ? 'bad' : kept > 0.75 ? 'warn' : ''}`} role="img" aria-label={label} title={label}>
      <i style={{ width: `${kept * 100}%` }} />
    </div>
  )
}
