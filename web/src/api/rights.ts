/** What the person who is signed in may do somewhere. Whether it is so for one object, the manager says. */
import { useSyncExternalStore } from 'react'
import type { Privilege } from './schema'

let held: ReadonlySet<Privilege> = new Set()
const listeners = new Set<() => void>()

export function setRights(privileges: Privilege[]) {
  if (privileges.length === held.size && privileges.every((p) => held.has(p))) return
  held = new Set(privileges)
  for (const l of listeners) l()
}

export const rightsNow = () => held

/** Whether a privilege is held; a missing one means "everybody may". */
export function useCan(): (privilege?: Privilege) => boolean {
  const rights = useSyncExternalStore((l) => {
    listeners.add(l)
    return () => listeners.delete(l)
  }, rightsNow)
  return (p) => p === undefined || rights.has(p)
}
