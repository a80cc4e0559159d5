/** The snapshots of a VM, as the tree that they are. */
import { CameraOutlined, MoreOutlined } from '@ant-design/icons'
import { Button, Dropdown } from 'antd'
import { useState } from 'react'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { useActionItems } from '../ui/action'
import { dateTime, size } from '../ui/format'
import { Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import { Status, Tag } from '../ui/Status'
import type { Vm } from '../vm/api'
import { Notices } from '../vm/Notices'
import { snapshotActions } from './actions'
import { type Branch, type Snapshot, treeOf, useSnapshots } from './api'
import { TakeSnapshot } from './SnapshotDialogs'

export default function SnapshotsTab({ vm }: { vm: Vm }) {
  const t = useT()
  const may = useCan()('vm_edit') && !vm.task
  const snapshots = useSnapshots(vm.id)
  const [taking, setTaking] = useState(false)
  return (
    <div className="stack">
      <Notices vm={vm} />
      <Panel
        title={t('snapshot.tree')}
        extra={
          <Button icon={<CameraOutlined />} disabled={!may} onClick={() => setTaking(true)}>
            {t('snapshot.take')}
          </Button>
        }
      >
        <ProblemAlert error={snapshots.error} />
        {snapshots.data?.length === 0 && <div className="empty">{t('snapshot.none')}</div>}
        {!!snapshots.data?.length && <Branches branches={treeOf(snapshots.data)} />}
      </Panel>
      {taking && <TakeSnapshot vm={vm} close={() => setTaking(false)} />}
    </div>
  )
}

function Branches({ branches }: { branches: Branch[] }) {
  return (
    <ul className="branches">
      {branches.map((b) => (
        <li key={b.snapshot.id}>
          <Line snapshot={b.snapshot} />
          {b.children.length > 0 && <Branches branches={b.children} />}
        </li>
      ))}
    </ul>
  )
}

function Line({ snapshot: s }: { snapshot: Snapshot }) {
  const t = useT()
  const items = useActionItems()
  return (
    <div className="row branch" data-testid={`snapshot-${s.name}`}>
      <Status tone={s.state === 'ready' ? 'good' : 'busy'}>
        {s.state === 'ready' ? s.name : `${s.name} (${t(`snapshot.state.${s.state}`)})`}
      </Status>
      {s.current && <Tag tone="good">{t('snapshot.current')}</Tag>}
      <span className="dim">{t(`snapshot.kind.${s.kind}`)}</span>
      <span className="grow clip" title={s.note}>
        {s.note}
      </span>
      <span className="dim" title={t('snapshot.size')}>
        {s.memory_bytes ? `${t('snapshot.memory')} ${size(s.memory_bytes)}, ` : ''}
        {`${s.spec.cpu.count} ${t('vm.cpus')}, ${size(s.spec.memory.bytes)}`}
      </span>
      <span className="dim">{dateTime(s.created_at)}</span>
      <Dropdown trigger={['click']} menu={{ items: items(snapshotActions, [s]) }} placement="bottomRight">
        <Button size="small" type="text" icon={<MoreOutlined />} aria-label={`${t('ui.actions')}: ${s.name}`} />
      </Dropdown>
    </div>
  )
}
