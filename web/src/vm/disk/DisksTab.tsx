/** The disks and optical drives of a VM. */
import { PlusOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useState } from 'react'
import { api } from '../../api/client'
import { useCan } from '../../api/rights'
import type { Schemas } from '../../api/schema'
import { useT } from '../../i18n'
import { useImageNames } from '../../image/api'
import { type Action, useStartAction } from '../../ui/action'
import { size } from '../../ui/format'
import { ObjectLink } from '../../ui/ObjectLink'
import { Panel } from '../../ui/Panel'
import { Plain } from '../../ui/Plain'
import type { Vm } from '../api'
import { Notices } from '../Notices'
import { AttachDisk, EditDisk } from './DiskDialogs'
import { MediaDialog } from './MediaDialog'

type Disk = Schemas['DiskSpec']
type Row = Disk & { n: number }

/** What a disk is limited to, in short; every limit that is set. */
const limitsText = (l: Disk['limits']) =>
  Object.entries(l ?? {})
    .map(([name, value]) => (name.endsWith('bytes_per_s') ? `${name}: ${size(value)}` : `${name}: ${value}`))
    .join(', ')

/** Detaching: the data goes. */
function detach(vm: Vm): Action<Disk & { n: number; name: string }> {
  return {
    id: 'disk-detach',
    label: 'vm.diskDetach',
    group: 1,
    danger: true,
    confirm: ([d], t) => ({
      text: t('vm.diskDetachText', { n: d?.n ?? 0, name: vm.name, size: size(d?.size_bytes) }),
      typeName: true,
      options: [{ key: 'erase', label: 'vm.option.erase' }],
    }),
    run: (d, choices) =>
      api.delete('/v1/vms/{vm}/disks/{disk}', {
        path: { vm: vm.id, disk: d.id },
        query: { erase: choices.erase ? 'secure' : undefined },
      }),
  }
}

/** Detaching, with the data kept: for disks that snapshots leave out. */
function detachKeeping(vm: Vm): Action<Disk & { n: number; name: string }> {
  return {
    id: 'disk-detach-keeping',
    label: 'vm.diskDetachKeep',
    group: 1,
    confirm: ([d], t) => ({ text: t('vm.diskDetachKeepText', { n: d?.n ?? 0, name: vm.name, size: size(d?.size_bytes) }) }),
    run: (d) => api.delete('/v1/vms/{vm}/disks/{disk}', { path: { vm: vm.id, disk: d.id }, query: { keep: true } }),
  }
}

/** Attaching again what was detached. */
function reattach(vm: Vm): Action<Disk & { n: number; name: string }> {
  return {
    id: 'disk-reattach',
    label: 'vm.diskReattach',
    group: 1,
    run: (d) => api.post('/v1/vms/{vm}/disks/{disk}/attach', { path: { vm: vm.id, disk: d.id } }),
  }
}

/** Disks that were detached and keep their data. */
function Detached({ vm, may }: { vm: Vm; may: boolean }) {
  const t = useT()
  const start = useStartAction()
  const rows: Row[] = (vm.spec.detached ?? []).map((d, n) => ({ ...d, n }))
  if (rows.length === 0) return null
  const named = (d: Row) => ({ ...d, name: `${vm.name}-${d.id}` })
  return (
    <Panel title={t('vm.diskDetached')}>
      <Plain<Row>
        label={t('vm.diskDetached')}
        rows={rows}
        id={(d) => d.id}
        columns={[
          [t('vm.disk'), (d) => <span className="mono">{d.id}</span>],
          [t('vm.size'), (d) => size(d.size_bytes)],
          [t('vm.diskMode'), (d) => d.mode],
          [
            '',
            (d) => (
              <span className="row tight">
                <Button size="small" disabled={!may} onClick={() => start(reattach(vm), [named(d)])}>
                  {t('vm.diskReattach')}
                </Button>
                <Button size="small" danger disabled={!may} onClick={() => start(detach(vm), [named(d)])}>
                  {t('vm.diskRemove')}
                </Button>
              </span>
            ),
          ],
        ]}
      />
    </Panel>
  )
}
/** Reclaiming: the space that the guest does not use goes back to the store. */
function reclaim(vm: Vm): Action<Disk & { n: number; name: string }> {
  return {
    id: 'disk-reclaim',
    label: 'vm.diskReclaim',
    group: 1,
    confirm: ([d], t) => ({ text: t('vm.diskReclaimText', { n: d?.n ?? 0, name: vm.name }) }),
    run: (d) => api.post('/v1/vms/{vm}/disks/{disk}/reclaim', { path: { vm: vm.id, disk: d.id } }),
  }
}

/** How a disk takes its space, and who has it. */
const kindText = (d: Disk) =>
  [d.provisioning ?? 'thin', d.format ?? 'qcow2', ...(d.sharing === 'shared' ? ['shared'] : [])].join(' ')

export default function DisksTab({ vm }: { vm: Vm }) {
  const t = useT()
  const start = useStartAction()
  const may = useCan()('vm_edit') && !vm.task
  const imageName = useImageNames()
  const [open, setOpen] = useState<'attach' | Disk>()
  const [drive, setDrive] = useState<Schemas['CdromSpec']>()
  const rows: Row[] = (vm.spec.disks ?? []).map((d, n) => ({ ...d, n }))
  const drives = vm.spec.cdroms ?? []
  return (
    <div className="stack">
      <Notices vm={vm} />
      <Panel
        title={t('vm.tab.disks')}
        extra={
          <Button icon={<PlusOutlined />} disabled={!may} onClick={() => setOpen('attach')}>
            {t('vm.diskAttach')}
          </Button>
        }
      >
        {rows.length === 0 && <div className="empty">{t('vm.diskNone')}</div>}
        {rows.length > 0 && (
          <Plain<Row>
            label={t('vm.tab.disks')}
            rows={rows}
            id={(d) => d.id}
            columns={[
              [t('vm.disk'), (d) => d.n],
              [t('vm.size'), (d) => size(d.size_bytes)],
              [
                t('vm.image'),
                (d) =>
                  d.image ? (
                    <ObjectLink of={{ kind: 'image', id: d.image, name: imageName(d.image) }} />
                  ) : (
                    <span className="dim">{t('vm.diskEmpty')}</span>
                  ),
              ],
              [t('vm.diskKind'), kindText],
              [t('vm.bus'), (d) => d.bus],
              [t('vm.cache'), (d) => d.cache],
              [t('vm.diskMode'), (d) => d.mode ?? 'dependent'],
              [t('vm.diskLimits'), (d) => limitsText(d.limits)],
              [
                '',
                (d) => (
                  <span className="row tight">
                    <Button size="small" disabled={!may} onClick={() => setOpen(d)}>
                      {t('ui.edit')}
                    </Button>
                    {d.mode && d.mode !== 'dependent' && (
                      <Button
                        size="small"
                        disabled={!may}
                        onClick={() => start(detachKeeping(vm), [{ ...d, name: `${vm.name}-${d.n}` }])}
                      >
                        {t('vm.diskDetachKeep')}
                      </Button>
                    )}
                    <Button
                      size="small"
                      disabled={!may || (d.provisioning ?? 'thin') !== 'thin'}
                      onClick={() => start(reclaim(vm), [{ ...d, name: `${vm.name}-${d.n}` }])}
                    >
                      {t('vm.diskReclaim')}
                    </Button>
                    <Button
                      size="small"
                      danger
                      disabled={!may}
                      onClick={() => start(detach(vm), [{ ...d, name: `${vm.name}-${d.n}` }])}
                    >
                      {t('vm.diskDetach')}
                    </Button>
                  </span>
                ),
              ],
            ]}
          />
        )}
      </Panel>
      <Detached vm={vm} may={may} />
      {drives.length > 0 && (
        <Panel title={t('vm.cdroms')}>
          <Plain
            label={t('vm.cdroms')}
            rows={drives.map((d, n) => ({ ...d, n }))}
            id={(d) => d.id}
            columns={[
              [t('vm.cdroms'), (d) => t('vm.cdrom', { n: d.n })],
              [
                t('vm.image'),
                (d) =>
                  d.image ? (
                    <ObjectLink of={{ kind: 'image', id: d.image, name: imageName(d.image) }} />
                  ) : (
                    <span className="dim">{t('vm.cdromEmpty')}</span>
                  ),
              ],
              [
                '',
                (d) => (
                  <Button size="small" disabled={!may} onClick={() => setDrive(d)}>
                    {t('vm.mediaChange')}
                  </Button>
                ),
              ],
            ]}
          />
        </Panel>
      )}
      {open === 'attach' && <AttachDisk vm={vm} close={() => setOpen(undefined)} />}
      {open && open !== 'attach' && <EditDisk vm={vm} disk={open} close={() => setOpen(undefined)} />}
      {drive && <MediaDialog vm={vm} drive={drive} close={() => setDrive(undefined)} />}
    </div>
  )
}
