/** A VM's rates. */
import { api } from '../api/client'
import { Monitor } from '../ui/Monitor'
import type { Vm } from './api'

export default function MonitorTab({ vm }: { vm: Vm }) {
  return (
    <Monitor
      kind="vm"
      id={vm.id}
      read={(signal) => api.get('/v1/vms/{vm}/stats', { path: { vm: vm.id }, signal })}
      memory={vm.spec.memory.bytes}
    />
  )
}
