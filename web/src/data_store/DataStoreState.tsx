/** A data store's state in a word: what is wrong comes before what is wanted. */
import { useT } from '../i18n'
import { Status } from '../ui/Status'
import type { DataStore } from './api'

export function stateWord(s: DataStore) {
  if (s.state !== 'ready') return s.state
  if (s.hosts.length > 0 && !s.hosts.some((h) => h.reachable)) return 'lost'
  return s.maintenance ? 'maintenance' : 'ready'
}

export function DataStoreStateView({ store }: { store: DataStore }) {
  const t = useT()
  const word = stateWord(store)
  const tone = word === 'ready' ? 'good' : word === 'lost' ? 'bad' : word === 'maintenance' ? 'warn' : 'busy'
  return <Status tone={tone}>{t(`data_store.state.${word}`)}</Status>
}
