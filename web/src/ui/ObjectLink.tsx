/** Links to objects of any kind. Which kinds there are, and where their pages lie, the nouns say. */
import type { ReactNode } from 'react'
import { GoLink } from './Link'

interface Known {
  icon: ReactNode
  path?: (id: string) => string
}
const known = new Map<string, Known>()

export function registerKind(kind: string, how: Known) {
  known.set(kind, how)
}

export const iconOf = (kind: string) => known.get(kind)?.icon
export const pathOf = (kind: string, id: string) => known.get(kind)?.path?.(id)

interface Props {
  of: { kind: string; id: string; name?: string | null } | null | undefined
  plain?: boolean
}

/** An object's name with its icon, as a link when there is a page of it. */
export function ObjectLink({ of, plain }: Props) {
  if (!of) return <span className="dim">–</span>
  const name = of.name || of.id
  const path = pathOf(of.kind, of.id)
  return (
    <span className="row tight" title={name}>
      {!plain && (
        <span className="dim" aria-hidden="true">
          {iconOf(of.kind)}
        </span>
      )}
      {path ? (
        <GoLink to={path} className="clip">
          {name}
        </GoLink>
      ) : (
        <span className="clip">{name}</span>
      )}
    </span>
  )
}
