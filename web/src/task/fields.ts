/** What tasks are filtered by. */
import type { FilterField } from '../ui/FilterBar'

export const TASK_FIELDS: FilterField[] = [
  { name: 'state', words: ['queued', 'running', 'succeeded', 'failed', 'cancelled'] },
  { name: 'object' },
  { name: 'object_kind', words: ['vm', 'image', 'network', 'data_store', 'host'] },
  { name: 'kind' },
  { name: 'requester' },
  { name: 'cause', words: ['user', 'repair', 'ha', 'drs', 'dpm', 'schedule'] },
  { name: 'created_at', kind: 'time' },
  { name: 'ended_at', kind: 'time' },
  { name: 'parent' },
]
