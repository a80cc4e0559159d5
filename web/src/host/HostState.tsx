/** A host's state in a word. */
import { useT } from '../i18n'
import { Status, type Tone } from '../ui/Status'
import type { Host } from './api'

export function hostTone(host: Host): Tone {
  if (host.state === 'silent') return 'bad'
  if (host.state === 'joining') return 'busy'
  return host.maintenance ? 'warn' : 'good'
}

export function HostStateView({ host }: { host: Host }) {
  const t = useT()
  const word = host.state === 'up' && host.maintenance ? 'maintenance' : host.state
  return <Status tone={hostTone(host)}>{t(`host.state.${word}`)}</Status>
}
