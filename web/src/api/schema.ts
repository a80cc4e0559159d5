/** The API's shapes by their own names. They come from openapi/v1.json; nothing here is written by hand. */
import type { components } from './v1.gen'

export type Schemas = components['schemas']
export type Problem = Schemas['Problem']
export type Reference = Schemas['Reference']
export type Privilege = Schemas['Privilege']
export type Sample = Schemas['Sample']

/** A page of a list. */
export interface Page<T> {
  items: T[]
  next_page?: string | null
  total?: number | null
}

/** What every list takes. */
export interface ListQuery {
  filter?: string
  sort?: string
  limit?: number
  page_token?: string
  fields?: string
  total?: boolean
}
