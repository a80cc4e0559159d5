/** Tasks, as the API has them. */
import { useQuery } from '@tanstack/react-query'
import { useEffect } from 'react'
import { api } from '../api/client'
import { term } from '../api/filter'
import type { ListSource } from '../api/list'
import { onTouched } from '../api/live'
import { useObject } from '../api/object'
import { queryClient } from '../api/query'
import type { ListQuery, Page, Schemas } from '../api/schema'
import { text } from '../i18n'

export type Task = Schemas['Task']

export const listTasks = (query: ListQuery, signal?: AbortSignal) =>
  api.get('/v1/tasks', { query, signal }) as Promise<Page<Task>>
export const taskSource = (within?: string): ListSource<Task> => ({ kind: 'task', fetch: listTasks, within, ageing: true })
export const tasksOf = (object: string) => term('object', '=', object)

/** The newest tasks of objects with a part of a name. */
export const findTasks = async (object: string, signal: AbortSignal) =>
  (await listTasks({ filter: term('object', '~', object), limit: 5, fields: 'kind,object' }, signal)).items.map((x) => ({
    id: x.id,
    name: `${text(`task.kind.${x.kind}`)} ${x.object.name ?? ''}`,
  }))

export const isActive = (t: Task) => t.state === 'queued' || t.state === 'running'
/** What may still be stopped. */
export const mayCancel = (t: Task) => isActive(t) && !t.cancel_requested

/** How often running tasks are looked at for their progress, which no event tells. */
const PROGRESS_MS = 1_500

export const useTask = (id: string) => {
  const task = useObject('task', id, (signal) => api.get('/v1/tasks/{task}', { path: { task: id }, signal }))
  const active = task.data && isActive(task.data)
  const { refetch } = task
  useEffect(() => {
    if (!active) return
    const timer = setInterval(() => void refetch(), PROGRESS_MS)
    return () => clearInterval(timer)
  }, [active, refetch])
  return task
}

export const cancelTask = (id: string) => api.post('/v1/tasks/{task}/cancel', { path: { task: id } })

const RECENT = ['task', 'of', 'recent']
/** The newest tasks, for the drawer. */
export function useRecentTasks() {
  const query = useQuery({
    queryKey: RECENT,
    queryFn: ({ signal }) => listTasks({ limit: 40 }, signal),
    refetchInterval: (q) => (q.state.data?.items.some(isActive) ? PROGRESS_MS : 30_000),
  })
  useEffect(() => onTouched((t) => (t.all || t.ids.has('task')) && void queryClient.invalidateQueries({ queryKey: RECENT })), [])
  return query
}
