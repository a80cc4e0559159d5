/** What a change would do: asked of the manager while one still chooses. */
import { useQuery } from '@tanstack/react-query'
import { Skeleton } from 'antd'
import { useEffect, useState } from 'react'
import { ApiError } from '../api/problem'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { ProblemAlert } from '../ui/ProblemAlert'
import { Tag } from '../ui/Status'
import { Refusals } from './Refusals'

export type Planned = Pick<Schemas['Accepted'], 'plan'>

/** Time in which somebody who types is not yet asked about: each question is a record in the audit. */
const SETTLE_MS = 600

/** A value once it has stopped changing. */
function useSettled(value: string): string {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), SETTLE_MS)
    return () => clearTimeout(timer)
  }, [value])
  return settled
}

/** The plan for what `asked` describes; asked anew when that changes. */
export function usePlan(asked: unknown, ask: ((signal: AbortSignal) => Promise<Planned>) | undefined) {
  const key = useSettled(JSON.stringify(asked))
  return useQuery({
    queryKey: ['plan', key],
    queryFn: ({ signal }): Promise<Planned> => (ask ? ask(signal) : Promise.resolve({})),
    enabled: !!ask && key === JSON.stringify(asked),
    staleTime: 2_000,
    retry: false,
    placeholderData: (old) => old,
  })
}

export function PlanView({ plan, error, busy }: { plan?: Planned['plan']; error: unknown; busy?: boolean }) {
  const t = useT()
  if (error) {
    return (
      <div className="stack">
        <ProblemAlert error={error} />
        {error instanceof ApiError && <Refusals refusals={error.problem.refusals ?? []} />}
      </div>
    )
  }
  if (!plan) return busy ? <Skeleton active title={false} paragraph={{ rows: 2 }} /> : null
  if (plan.length === 0) return <span className="dim">{t('ui.planNone')}</span>
  return (
    <ul className="notes" data-testid="plan">
      {plan.map((step) => (
        <li key={step.what}>
          {step.what}{' '}
          {step.after_restart ? (
            <Tag tone="warn">{t('ui.planAfterRestart', { why: step.after_restart })}</Tag>
          ) : (
            <Tag tone="good">{t('ui.planNow')}</Tag>
          )}
        </li>
      ))}
    </ul>
  )
}
