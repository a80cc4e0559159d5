/** One network, and the VMs on it. */
import { useParams } from '@tanstack/react-router'
import { useT } from '../i18n'
import { dateTime } from '../ui/format'
import { ObjectPage } from '../ui/ObjectPage'
import { Facts, Panel } from '../ui/Panel'
import { within } from '../vm/api'
import { VmList } from '../vm/VmList'
import { networkActions } from './actions'
import { useNetwork } from './api'
import { NetworkStateView } from './NetworkState'
import { network as noun } from './noun'

export default function NetworkPage() {
  const t = useT()
  const { network: name = '' } = useParams({ strict: false }) as { network?: string }
  const { data: network, error, refetch } = useNetwork(name)
  const spec = network?.spec
  return (
    <ObjectPage
      crumbs={[{ label: t('network.many'), to: '/networks' }, { label: network?.name ?? name }]}
      icon={noun.icon}
      title={network?.name ?? name}
      state={network && <NetworkStateView network={network} />}
      object={network}
      error={error}
      onRetry={() => void refetch()}
      actions={networkActions}
    >
      {network && spec && (
        <div className="page" style={{ gap: 12 }}>
          <Panel title={t(`network.kind.${spec.kind}`)}>
            <Facts
              items={[
                [t('network.cidr'), spec.kind === 'nat' && spec.cidr],
                [t('network.bridge'), spec.kind === 'ovs' && spec.bridge],
                [t('network.uplink'), spec.kind === 'ovs' && spec.uplink],
                [t('network.vlan'), spec.kind === 'ovs' && spec.vlan],
                [t('network.created'), dateTime(network.created_at)],
              ]}
            />
          </Panel>
          <h2 style={{ fontSize: 14 }}>{t('network.vms')}</h2>
          <VmList id="network-vms" within={within.network(network.id)} />
        </div>
      )}
    </ObjectPage>
  )
}
