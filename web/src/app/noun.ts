/** What the frame needs to know of a noun. Everything else about it stays in its folder. */
import type { ReactNode } from 'react'
import type { Privilege } from '../api/schema'
import type { Key } from '../i18n'
import type { Named } from '../ui/action'

export interface PageRoute {
  /** Path in the address; `$name` is a part that varies. */
  path: string
  /** The page, loaded when it is opened: a module whose default is a component. */
  load: () => Promise<{ default: () => ReactNode }>
}

/** Something that the search found. */
export interface Found extends Named {
  /** Its place, where it has no page of its own. */
  to?: string
}

/** Something that the search offers to do. */
export interface Command {
  label: Key
  to: string
  privilege?: Privilege
}

export interface Noun {
  /** As events and references name it. */
  kind: string
  icon: ReactNode
  /** The word for many of them. */
  label: Key
  pages: PageRoute[]
  /** Who may see it at all. */
  privilege?: Privilege
  /** What the manager must be able to do (`capabilities` of the system), for nouns that are not in every installation. */
  capability?: string
  /** The page of one of them. */
  path?: (id: string) => string
  /** Its place in the main menu, or under Administration. */
  menu?: { to: string; order: number; under?: 'administration' }
  /** Finds some by a part of the name, for the search. */
  find?: (text: string, signal: AbortSignal) => Promise<Found[]>
  /** What is often done first with them; the search offers it. */
  commands?: Command[]
}
