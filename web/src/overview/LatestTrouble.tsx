/** The newest warnings and errors. */
import { useQuery } from '@tanstack/react-query'
import { listEvents, TONES } from '../event/api'
import { useT } from '../i18n'
import { GoLink } from '../ui/Link'
import { ObjectLink } from '../ui/ObjectLink'
import { Panel, Time } from '../ui/Panel'
import { Status } from '../ui/Status'

const SHOWN = 8

export function LatestTrouble() {
  const t = useT()
  const events = useQuery({
    queryKey: ['event', 'of', 'overview'],
    queryFn: ({ signal }) => listEvents({ filter: 'severity != info', limit: SHOWN }, signal),
  })
  return (
    <Panel title={t('overview.latest')} extra={<GoLink to="/events?filter=severity != info">{t('event.all')}</GoLink>}>
      {events.data?.items.length === 0 && <span className="dim">{t('overview.latestNone')}</span>}
      <div className="stack" style={{ gap: 6 }}>
        {events.data?.items.map((e) => (
          <div className="row" key={e.id} title={e.message}>
            <Status tone={TONES[e.severity]}>{''}</Status>
            <span style={{ flex: '0 1 auto', minWidth: 0 }}>
              <ObjectLink of={e.object} />
            </span>
            <span className="grow clip">{e.message}</span>
            <span className="dim">
              <Time at={e.at} />
            </span>
          </div>
        ))}
      </div>
    </Panel>
  )
}
