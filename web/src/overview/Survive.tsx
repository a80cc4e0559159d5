/** "You survive any one host": yes or no, why, and from what that was worked out. */
import { useQuery } from '@tanstack/react-query'
import type { Host } from '../host/api'
import { useT } from '../i18n'
import { size } from '../ui/format'
import { ObjectLink } from '../ui/ObjectLink'
import { Panel } from '../ui/Panel'
import { Status } from '../ui/Status'
import { listVms } from '../vm/api'
import { type Survival, survival } from './survive'

const NAMED_MAX = 4
const EVERY_MS = 30_000

/** The largest VM that runs. */
function useLargest() {
  return useQuery({
    queryKey: ['vm', 'of', 'largest'],
    refetchInterval: EVERY_MS,
    queryFn: async ({ signal }) => {
      const query = { filter: 'state = running', sort: '-memory', limit: 1, fields: 'name,spec,host' }
      const [vm] = (await listVms(query, signal)).items
      return vm ? { bytes: vm.spec.memory.bytes, host: vm.host?.id } : null
    },
  })
}

export function Survive({ hosts }: { hosts: Host[] }) {
  const t = useT()
  const largest = useLargest().data
  const found = survival(hosts, largest ?? undefined)
  if (found.answer === 'nothing') return null
  return (
    <Panel title={t('overview.survive')}>
      <div className="stack" data-testid="survive" data-answer={found.answer}>
        <Answer found={found} />
        <span className="dim">{t('overview.surviveHow')}</span>
      </div>
    </Panel>
  )
}

function Answer({ found }: { found: Survival }) {
  const t = useT()
  if (found.answer === 'one') return <Status tone="bad">{t('overview.surviveOne')}</Status>
  if (found.answer === 'large') return <Status tone="bad">{t('overview.surviveLarge', { size: size(found.bytes) })}</Status>
  if (found.answer === 'yes') {
    return (
      <>
        <Status tone="good">{t('overview.surviveYes')}</Status>
        <span className="wrap">{t('overview.surviveLeft', { host: found.tightest.name, size: size(found.left) })}</span>
      </>
    )
  }
  if (found.answer !== 'no') return null
  return (
    <>
      <Status tone="bad">{t('overview.surviveNo', { count: found.short.length })}</Status>
      {found.short.slice(0, NAMED_MAX).map((s) => (
        <div className="row" key={s.host.id}>
          <span className="grow">
            <ObjectLink of={{ kind: 'host', id: s.host.id, name: s.host.name }} />
          </span>
          <span>{t('overview.surviveMissing', { size: size(s.missing) })}</span>
        </div>
      ))}
      {found.short.length > NAMED_MAX && <span className="dim">+ {found.short.length - NAMED_MAX}</span>}
    </>
  )
}
