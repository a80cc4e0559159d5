/** One data store: what it is, what each host finds, and the VMs on it. */
import { useParams } from '@tanstack/react-router'
import { useT } from '../i18n'
import { dateTime, size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ObjectPage } from '../ui/ObjectPage'
import { Facts, Panel } from '../ui/Panel'
import { Status } from '../ui/Status'
import { within } from '../vm/api'
import { VmList } from '../vm/VmList'
import { dataStoreActions } from './actions'
import { type DataStore, usedBytes, useDataStore } from './api'
import { DataStoreStateView } from './DataStoreState'
import { dataStore as noun } from './noun'

/** The flags of a data store that are as asked for, in words. */
function Flags({ store, value }: { store: DataStore; value: boolean }) {
  const t = useT()
  const flags = Object.entries(store.capabilities) as [keyof DataStore['capabilities'], boolean][]
  const words = flags.filter(([, can]) => can === value).map(([flag]) => t(`data_store.can.${flag}`))
  return <>{words.join(', ')}</>
}

function Hosts({ store }: { store: DataStore }) {
  const t = useT()
  if (store.hosts.length === 0) return <p>{t('data_store.noHosts')}</p>
  return (
    <Facts
      items={store.hosts.map((h) => [
        h.host.name,
        <span key={h.host.id}>
          <Status tone={h.reachable ? 'good' : 'bad'}>{h.reachable ? t('data_store.reachable') : (h.why ?? '')}</Status>{' '}
          {h.reachable && `${size(h.free_bytes)} / ${size(h.total_bytes)} ${h.file_system ?? ''}`}
        </span>,
      ])}
    />
  )
}

export default function DataStorePage() {
  const t = useT()
  const { dataStore: name = '' } = useParams({ strict: false }) as { dataStore?: string }
  const { data: store, error, refetch } = useDataStore(name)
  return (
    <ObjectPage
      crumbs={[{ label: t('data_store.many'), to: '/data-stores' }, { label: store?.name ?? name }]}
      icon={noun.icon}
      title={store?.name ?? name}
      state={store && <DataStoreStateView store={store} />}
      object={store}
      error={error}
      onRetry={() => void refetch()}
      actions={dataStoreActions}
    >
      {store && (
        <div className="page" style={{ gap: 12 }}>
          <Panel title={t(`data_store.kind.${store.kind}`)}>
            <Facts
              items={[
                [t('data_store.path'), store.spec.kind === 'shared_directory' && store.spec.path],
                [t('data_store.host'), store.host && <GoLink to={`/hosts/${store.host.id}`}>{store.host.name}</GoLink>],
                [t('data_store.capacity'), store.total_bytes > 0 && size(store.total_bytes)],
                [t('data_store.used'), store.total_bytes > 0 && size(usedBytes(store))],
                [t('data_store.free'), store.total_bytes > 0 && size(store.free_bytes)],
                [t('data_store.promised'), <span title={t('data_store.promisedHelp')}>{size(store.promised_bytes)}</span>],
                [t('data_store.description'), store.description],
                [t('data_store.can'), <Flags store={store} value />],
                [t('data_store.cannot'), <Flags store={store} value={false} />],
                [t('data_store.created'), dateTime(store.created_at)],
              ]}
            />
          </Panel>
          <Panel title={t('data_store.found')}>
            <Hosts store={store} />
          </Panel>
          <h2 style={{ fontSize: 14 }}>{t('data_store.vms')}</h2>
          <VmList id="data-store-vms" within={within.dataStore(store.id)} />
        </div>
      )}
    </ObjectPage>
  )
}
