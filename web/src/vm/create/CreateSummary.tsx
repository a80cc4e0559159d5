/** What would be made, where it would go and why; and the same as a call and as a command. */
import { Collapse } from 'antd'
import type { ReactNode } from 'react'
import { useT } from '../../i18n'
import { size } from '../../ui/format'
import { Code, Facts, Panel } from '../../ui/Panel'
import { ProblemAlert } from '../../ui/ProblemAlert'
import { Status } from '../../ui/Status'
import { PlanView, type usePlan } from '../Plan'
import { asCall, asCommand, type Choice } from './request'

interface Props {
  choice: Choice
  plan: ReturnType<typeof usePlan>
  asked: boolean
  error: unknown
  children: ReactNode
}

export function CreateSummary({ choice: c, plan, asked, error, children }: Props) {
  const t = useT()
  return (
    <>
      <Panel title={c.name || t('vm.one')}>
        <div className="stack">
          <Facts
            items={[
              [t('vm.createImage'), c.image ?? t('ui.none')],
              [t('vm.createHardware'), `${c.cpus} vCPU, ${size(c.memory_bytes)}`],
              [t('vm.createNetwork'), c.network ?? t('ui.none')],
              [t('vm.createHost'), c.host],
            ]}
          />
          <div>
            <div className="dim" style={{ marginBottom: 4 }}>
              {t('vm.createPlacement')}
            </div>
            {!asked && <span>{t('vm.createPlacementWait')}</span>}
            {asked && !plan.error && plan.data && <Status tone="good">{t('vm.createPlacementOk')}</Status>}
            {asked && <PlanView plan={plan.data?.plan} error={plan.error} busy={plan.isFetching} />}
          </div>
          {!!error && String(error) !== String(plan.error) && <ProblemAlert error={error} />}
          {children}
        </div>
      </Panel>
      <Collapse
        size="small"
        items={[
          { key: 'cli', label: t('ui.asCli'), children: <Code text={asCommand(c)} /> },
          { key: 'api', label: t('ui.asApi'), children: <Code text={asCall(c, location.origin)} /> },
        ]}
      />
    </>
  )
}
