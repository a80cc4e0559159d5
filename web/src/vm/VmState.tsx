/** A VM's state in a word, with what disturbs it. */
import { useT } from '../i18n'
import { Status, type Tone } from '../ui/Status'
import { stateOf, type Vm, type VmState } from './api'

const TONES: Record<VmState, Tone> = {
  running: 'good',
  paused: 'warn',
  hibernated: 'off',
  stopped: 'off',
  absent: 'busy',
  crashed: 'bad',
  unknown: 'bad',
}

export function vmTone(vm: Vm): Tone {
  if (vm.task) return 'busy'
  return vm.observed.drift?.length ? 'warn' : TONES[stateOf(vm)]
}

export function VmStateView({ vm }: { vm: Vm }) {
  const t = useT()
  const drift = vm.observed.drift?.map((d) => d.message).join('; ')
  const title = [!vm.fresh && t('vm.stale'), drift && `${t('vm.drift')}: ${drift}`, vm.task && t('vm.task')]
    .filter(Boolean)
    .join(' ')
  return (
    <Status tone={vmTone(vm)} stale={!vm.fresh} title={title || undefined}>
      {t(`vm.state.${stateOf(vm)}`)}
    </Status>
  )
}
