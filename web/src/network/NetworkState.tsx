/** A network's state in a word. */
import { useT } from '../i18n'
import { Status } from '../ui/Status'
import type { Network } from './api'

export function NetworkStateView({ network }: { network: Network }) {
  const t = useT()
  return (
    <Status tone={network.deleting ? 'busy' : 'good'}>
      {t(network.deleting ? 'network.state.deleting' : 'network.state.ready')}
    </Status>
  )
}
