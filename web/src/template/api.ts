/** Templates and clones, as the API has them. A template is a VM to the event stream. */
import { api } from '../api/client'
import { term } from '../api/filter'
import type { ListSource } from '../api/list'
import { useObject } from '../api/object'
import type { ListQuery, Page, Schemas } from '../api/schema'

export type Template = Schemas['Template']
export type CloneCreate = Schemas['CloneCreate']

export const listTemplates = (query: ListQuery, signal?: AbortSignal) =>
  api.get('/v1/templates', { query, signal }) as Promise<Page<Template>>
export const templateSource: ListSource<Template> = { kind: 'vm', fetch: listTemplates }
export const useTemplate = (name: string) =>
  useObject('vm', `template ${name}`, (signal) => api.get('/v1/templates/{template}', { path: { template: name }, signal }))
export const findTemplates = async (text: string, signal: AbortSignal) =>
  (await listTemplates({ filter: term('name', '~', text), limit: 10, fields: 'name', sort: 'name' }, signal)).items

export const deploy = (template: string, body: CloneCreate) =>
  api.post('/v1/templates/{template}/deploy', { path: { template }, body })
export const clone = (vm: string, body: CloneCreate) => api.post('/v1/vms/{vm}/clone', { path: { vm }, body })

/** Whether a VM's disks stand on those of another one. */
export const isLinked = (spec: Schemas['VmSpec']): boolean => (spec.disks ?? []).some((d) => !!d.origin)
