/** VMs, as the API has them. */
import { api } from '../api/client'
import { all, term } from '../api/filter'
import type { ListSource } from '../api/list'
import { useObject } from '../api/object'
import type { ListQuery, Page, Schemas } from '../api/schema'

export type Vm = Schemas['Vm']
export type VmState = NonNullable<Vm['observed']['state']>
export type PowerAction = Schemas['PowerAction']
export type Accepted = Schemas['Accepted']

export const listVms = (query: ListQuery, signal?: AbortSignal) => api.get('/v1/vms', { query, signal }) as Promise<Page<Vm>>

/** The list of VMs, of all or of those within a condition. */
export const vmSource = (within?: string): ListSource<Vm> => ({ kind: 'vm', fetch: listVms, within, ageing: true })

export const useVm = (name: string) =>
  useObject('vm', name, (signal) => api.get('/v1/vms/{vm}', { path: { vm: name }, signal }), { everyMs: 15_000 })

export const findVms = async (text: string, signal: AbortSignal) =>
  (await listVms({ filter: term('name', '~', text), limit: 10, fields: 'name', sort: 'name' }, signal)).items

export const stateOf = (vm: Vm): VmState => vm.observed.state ?? 'unknown'

/** The states of a VM, as filters take them. */
export const VM_STATES = ['running', 'stopped', 'paused', 'hibernated', 'crashed', 'unknown', 'absent'] as const

/** A condition that finds these VMs. */
export const within = {
  host: (id: string) => term('host', '=', id),
  image: (id: string) => term('image', '=', id),
  network: (id: string) => term('network', '=', id),
  dataStore: (id: string) => term('data_store', '=', id),
}

/** VMs that somebody should look at. */
export const troubled = 'drift = true or state in (crashed, unknown)'
export const both = all

export const power = (vm: Vm, action: PowerAction, more?: { then_force?: boolean; timeout_s?: number }) =>
  api.post('/v1/vms/{vm}/power', { path: { vm: vm.id }, body: { action, ...more } })
