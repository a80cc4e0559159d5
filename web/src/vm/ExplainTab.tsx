/** Why a VM is where it is, what is asked of it and what is true, what waits, and what went wrong last; in sentences. */
import { useQuery } from '@tanstack/react-query'
import { ApiError } from '../api/problem'
import { useT } from '../i18n'
import { listTasks, tasksOf } from '../task/api'
import { GoLink } from '../ui/Link'
import { Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import { stateOf, type Vm } from './api'
import { Notices } from './Notices'

export default function ExplainTab({ vm }: { vm: Vm }) {
  const t = useT()
  const o = vm.observed
  const trouble = !vm.fresh || o.drift?.length || o.error || o.pending?.length
  const seen = o.generation ?? 0
  const how = vm.generation > seen ? t('vm.explainBehind', { seen }) : t(o.settled ? 'vm.explainDone' : 'vm.explainWorking')
  return (
    <div className="stack form-page">
      <Panel title={t('vm.explainOrder')}>
        <p>{t('vm.explainIs', { name: vm.name, state: t(`vm.state.${stateOf(vm)}`) })}</p>
        <p>
          {t('vm.explainDesired', { desired: t(`vm.state.${vm.desired}`), generation: vm.generation })} {how}
        </p>
        <LastTask vm={vm} />
      </Panel>
      <Panel title={t('vm.explainPlace')}>
        <p>
          {vm.host
            ? t('vm.explainOn', { host: vm.host.name ?? '', why: vm.placement || t('vm.explainNoWhy') })
            : t('vm.explainNoHost')}
        </p>
        {!vm.fresh && <p>{t('vm.explainStale')}</p>}
        {o.accelerator === 'tcg' && <p>{t('vm.explainTcg')}</p>}
      </Panel>
      <Panel title={t('vm.explainTrouble')}>
        <div className="stack">{trouble ? <Notices vm={vm} /> : t('vm.explainTroubleNone')}</div>
      </Panel>
    </div>
  )
}

function LastTask({ vm }: { vm: Vm }) {
  const t = useT()
  const last = useQuery({
    queryKey: ['task', 'of', vm.id],
    queryFn: ({ signal }) => listTasks({ filter: tasksOf(vm.id), limit: 1 }, signal),
  })
  const task = last.data?.items[0]
  if (!last.data) return null
  if (!task) return <p>{t('vm.explainNoTask')}</p>
  return (
    <>
      <p>
        {t('vm.explainTask', {
          kind: t(`task.kind.${task.kind}`),
          state: t(`task.state.${task.state}`),
          who: task.requester?.name ?? t(`task.cause.${task.cause}`),
        })}{' '}
        <GoLink to={`/tasks/${task.id}`}>{t('ui.showTask')}</GoLink>
      </p>
      {task.error && <ProblemAlert error={new ApiError(task.error)} />}
    </>
  )
}
