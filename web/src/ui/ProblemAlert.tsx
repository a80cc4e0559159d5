/** What went wrong: what, why, what to do, and the request by which the manager's log knows it. */
import { Alert, Button } from 'antd'
import { ApiError, UNREACHABLE } from '../api/problem'
import { useT } from '../i18n'

export function ProblemAlert({ error, onRetry, banner }: { error: unknown; onRetry?: () => void; banner?: boolean }) {
  const t = useT()
  if (!error) return null
  return (
    <Alert
      type="error"
      showIcon
      banner={banner}
      role="alert"
      title={<ProblemTitle error={error} />}
      description={<ProblemText error={error} />}
      action={
        onRetry && (
          <Button size="small" onClick={onRetry}>
            {t('ui.retry')}
          </Button>
        )
      }
    />
  )
}

function ProblemTitle({ error }: { error: unknown }) {
  const t = useT()
  if (!(error instanceof ApiError)) return <span className="wrap">{error instanceof Error ? error.message : String(error)}</span>
  if ((error.problem.code as string) === UNREACHABLE) return <>{t('ui.unreachableTitle')}</>
  return <span className="wrap">{error.problem.detail}</span>
}

/** The hint, the fields, the hosts and the request of a problem. */
export function ProblemText({ error }: { error: unknown }) {
  const t = useT()
  if (!(error instanceof ApiError)) return null
  const p = error.problem
  if ((p.code as string) === UNREACHABLE) {
    return (
      <>
        {t('ui.unreachableDetail')} {t('ui.unreachableHint')}
      </>
    )
  }
  return (
    <div className="wrap">
      {p.hint && <div>{p.hint}</div>}
      {!!p.violations?.length && (
        <ul className="problem-list">
          {p.violations.map((v) => (
            <li key={`${v.field} ${v.message}`}>
              <span className="mono">{v.field}</span> {v.message}
            </li>
          ))}
        </ul>
      )}
      {p.request_id && <div className="dim mono">{t('ui.requestId', { id: p.request_id })}</div>}
    </div>
  )
}
