/** All events. */
import { useT } from '../i18n'
import { Page } from '../ui/Page'
import { EventList } from './EventList'

export default function EventListPage() {
  const t = useT()
  return (
    <Page title={t('event.many')} flush>
      <EventList id="events" />
    </Page>
  )
}
