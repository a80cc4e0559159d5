/** The tasks on a VM. */
import { TaskList } from '../task/TaskList'
import type { Vm } from './api'

export default function TasksTab({ vm }: { vm: Vm }) {
  return (
    <div className="page">
      <TaskList object={vm.id} />
    </div>
  )
}
