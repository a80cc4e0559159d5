/** Why hosts cannot take a VM, host by host. */
import type { Schemas } from '../api/schema'
import { type T, useT } from '../i18n'
import { size } from '../ui/format'
import { ObjectLink } from '../ui/ObjectLink'

type Reason = Schemas['Reason']
/** Hosts that are listed; the rest is counted. */
const LISTED_MAX = 20

export function reasonText(r: Reason, t: T): string {
  switch (r.reason) {
    case 'not_up':
      return t('vm.why.not_up', { state: r.state })
    case 'memory':
    case 'storage':
      return t(`vm.why.${r.reason}`, { needed: size(r.needed_bytes), free: size(r.free_bytes) })
    case 'vcpus':
      return t('vm.why.vcpus', { needed: r.needed, available: r.available })
    case 'network':
      return t('vm.why.network', { network: r.network, why: r.why })
    case 'disks_elsewhere':
      return t('vm.why.disks_elsewhere', { source: r.source })
    case 'data_store':
      return t('vm.why.data_store', { data_store: r.data_store, why: r.why })
    default:
      return t(`vm.why.${r.reason}`)
  }
}

export function Refusals({ refusals }: { refusals: Schemas['HostRefusal'][] }) {
  const t = useT()
  if (refusals.length === 0) return null
  return (
    <div>
      <div className="dim">{t('vm.createRefusals')}</div>
      <ul className="notes">
        {refusals.slice(0, LISTED_MAX).map((r) => (
          <li key={r.host}>
            <ObjectLink of={{ kind: 'host', id: r.host, name: r.host_name }} plain />{' '}
            {r.reasons.map((reason) => reasonText(reason, t)).join('; ')}
          </li>
        ))}
      </ul>
      {refusals.length > LISTED_MAX && <span className="dim">+ {refusals.length - LISTED_MAX}</span>}
    </div>
  )
}
