/** What can be done with a snapshot. */
import { DeleteOutlined, EditOutlined, RollbackOutlined } from '@ant-design/icons'
import { api } from '../api/client'
import type { Action } from '../ui/action'
import { reread, type Snapshot } from './api'
import { EditSnapshot } from './SnapshotDialogs'

const pathOf = (s: Snapshot) => ({ vm: s.vm.id, snapshot: s.id })
const ready = (s: Snapshot) => (s.state === 'ready' ? undefined : ('snapshot.not.ready' as const))
const words = ([s]: Snapshot[]) => ({ vm: s?.vm.name ?? '', name: s?.name ?? '' })

export const snapshotActions: Action<Snapshot>[] = [
  {
    id: 'revert',
    label: 'snapshot.revert',
    icon: <RollbackOutlined />,
    group: 1,
    privilege: 'vm_edit',
    single: true,
    refused: ready,
    confirm: (snapshots, t) => ({
      text: t('snapshot.revertText', words(snapshots)),
      options: [
        snapshots[0]?.kind === 'memory'
          ? { key: 'cold', label: 'snapshot.revertCold' }
          : { key: 'start', label: 'snapshot.revertStart' },
      ],
    }),
    run: (s, choices) =>
      api.post('/v1/vms/{vm}/snapshots/{snapshot}/revert', {
        path: pathOf(s),
        body: { start: choices.start ?? false, memory: choices.cold ? false : null },
      }),
  },
  {
    id: 'edit',
    label: 'snapshot.edit',
    icon: <EditOutlined />,
    group: 1,
    privilege: 'vm_edit',
    single: true,
    dialog: (s, close) => <EditSnapshot snapshot={s} close={close} />,
  },
  {
    id: 'delete',
    label: 'snapshot.delete',
    icon: <DeleteOutlined />,
    group: 2,
    danger: true,
    privilege: 'vm_edit',
    single: true,
    refused: ready,
    confirm: (snapshots, t) => ({ text: t('snapshot.deleteText', words(snapshots)) }),
    run: async (s) => {
      const done = await api.delete('/v1/vms/{vm}/snapshots/{snapshot}', { path: pathOf(s) })
      await reread(s.vm.id)
      return done
    },
  },
]
