/** What happened to a VM. */
import { eventsOf } from '../event/api'
import { EventList } from '../event/EventList'
import type { Vm } from './api'

export default function EventsTab({ vm }: { vm: Vm }) {
  return (
    <div className="page">
      <EventList id="vm-events" within={eventsOf(vm.id)} />
    </div>
  )
}
