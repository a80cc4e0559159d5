/** Warnings and errors of late, counted until they were looked at. */
import { BellOutlined } from '@ant-design/icons'
import { useQuery } from '@tanstack/react-query'
import { Badge, Popover } from 'antd'
import { useEffect, useState } from 'react'
import { onTouched } from '../api/live'
import { queryClient } from '../api/query'
import { useT } from '../i18n'
import { GoLink } from '../ui/Link'
import { ObjectLink } from '../ui/ObjectLink'
import { Time } from '../ui/Panel'
import { Status } from '../ui/Status'
import { remember, remembered } from '../ui/urlState'
import { listEvents, TONES } from './api'

const KEY = ['event', 'of', 'bell']
const SHOWN = 30

export function EventBell() {
  const t = useT()
  const [seen, setSeen] = useState(() => remembered('bell', 0))
  const events =
    useQuery({ queryKey: KEY, queryFn: ({ signal }) => listEvents({ filter: 'severity != info', limit: SHOWN }, signal) }).data
      ?.items ?? []
  useEffect(
    () =>
      onTouched(
        (x) => (x.all || x.events.some((e) => e.severity !== 'info')) && void queryClient.invalidateQueries({ queryKey: KEY }),
      ),
    [],
  )
  const fresh = events.filter((e) => Number(e.id) > seen).length
  const open = (shown: boolean) => {
    if (shown || !events[0]) return
    setSeen(Number(events[0].id))
    remember('bell', Number(events[0].id))
  }
  const content = (
    <>
      <ul className="bell-list">
        {events.map((e) => (
          <li key={e.id}>
            <div className="row">
              <Status tone={TONES[e.severity]}>{t(`event.severity.${e.severity}`)}</Status>
              <span className="grow">
                <ObjectLink of={e.object} />
              </span>
              <span className="dim">
                <Time at={e.at} />
              </span>
            </div>
            <div className="wrap">{e.message}</div>
          </li>
        ))}
        {events.length === 0 && <li>{t('event.bellNone')}</li>}
      </ul>
      <GoLink to="/events?filter=severity != info">{t('event.all')}</GoLink>
    </>
  )
  return (
    <Popover trigger="click" placement="bottomRight" content={content} onOpenChange={open}>
      <button
        type="button"
        className="top-button"
        aria-label={t('event.bell', { count: fresh })}
        title={t('event.bell', { count: fresh })}
      >
        <Badge count={fresh} size="small" overflowCount={SHOWN - 1} color="#c0322b">
          <BellOutlined style={{ color: 'var(--head-text)', fontSize: 16 }} />
        </Badge>
      </button>
    </Popover>
  )
}
