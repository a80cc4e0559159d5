/** What is shown in place of a page that made a mistake. */
import { Button } from 'antd'
import { useT } from '../i18n'
import { ProblemAlert } from '../ui/ProblemAlert'

export function Crashed({ error, reset }: { error: unknown; reset?: () => void }) {
  const t = useT()
  return (
    <div className="stack" style={{ padding: 24 }} role="alert">
      <h2>{t('ui.crashed')}</h2>
      <ProblemAlert error={error} />
      <div>
        <Button onClick={() => (reset ? reset() : location.reload())}>{t('ui.retry')}</Button>
      </div>
    </div>
  )
}
