/** Over what a role is granted, in words. */
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { ObjectLink } from '../ui/ObjectLink'
import { Tag } from '../ui/Status'
import type { Scope } from './api'

export function ScopeText({ scope }: { scope: Scope }) {
  const t = useT()
  const word = t(`role.scope.${scope.scope}`)
  if (!('id' in scope)) return <>{word}</>
  const kind = scope.scope === 'vm' ? 'vm' : 'host'
  return (
    <span className="row tight">
      {word}
      <ObjectLink of={{ kind, id: scope.id }} />
    </span>
  )
}

export function GrantTags({ grants }: { grants: Schemas['Grant'][] }) {
  const t = useT()
  return (
    <span className="row tight">
      {grants.map((g) => (
        <Tag key={JSON.stringify(g)}>{`${g.role} · ${t(`role.scope.${g.scope.scope}`)}`}</Tag>
      ))}
    </span>
  )
}
