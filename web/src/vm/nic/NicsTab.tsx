/** The network interfaces of a VM. */
import { PlusOutlined } from '@ant-design/icons'
import { Button, Form, Input, Select, Switch } from 'antd'
import { useState } from 'react'
import { api } from '../../api/client'
import { useCan } from '../../api/rights'
import type { Schemas } from '../../api/schema'
import { useT } from '../../i18n'
import { findNetworks, useNetworkNames } from '../../network/api'
import { type Action, useStartAction } from '../../ui/action'
import { FormDialog } from '../../ui/FormDialog'
import { ObjectLink } from '../../ui/ObjectLink'
import { ObjectSelect } from '../../ui/ObjectSelect'
import { Panel } from '../../ui/Panel'
import { Plain } from '../../ui/Plain'
import { Status } from '../../ui/Status'
import type { Vm } from '../api'
import { Ahead } from '../disk/DiskDialogs'
import { Notices } from '../Notices'

type Nic = Schemas['NicSpec'] & { n: number; name: string }
const MODELS: Schemas['NicModel'][] = ['virtio', 'e1000', 'rtl8139']

function detach(vm: Vm): Action<Nic> {
  return {
    id: 'nic-detach',
    label: 'vm.nicDetach',
    group: 1,
    danger: true,
    confirm: ([n], t) => ({ text: t('vm.nicDetachText', { n: n?.n ?? 0, name: vm.name, mac: n?.mac ?? '' }) }),
    run: (n) => api.delete('/v1/vms/{vm}/nics/{nic}', { path: { vm: vm.id, nic: n.id } }),
  }
}

export default function NicsTab({ vm }: { vm: Vm }) {
  const t = useT()
  const start = useStartAction()
  const may = useCan()('vm_edit') && !vm.task
  const networkName = useNetworkNames()
  const [open, setOpen] = useState<'attach' | Nic>()
  const rows: Nic[] = (vm.spec.nics ?? []).map((x, n) => ({ ...x, n, name: `${vm.name}-${n}` }))
  return (
    <div className="stack">
      <Notices vm={vm} />
      <Panel
        title={t('vm.tab.nics')}
        extra={
          <Button icon={<PlusOutlined />} disabled={!may} onClick={() => setOpen('attach')}>
            {t('vm.nicAttach')}
          </Button>
        }
      >
        {rows.length === 0 && <div className="empty">{t('vm.nicNone')}</div>}
        {rows.length > 0 && (
          <Plain<Nic>
            label={t('vm.tab.nics')}
            rows={rows}
            id={(n) => n.id}
            columns={[
              [t('vm.nic'), (n) => n.n],
              [t('vm.network'), (n) => <ObjectLink of={{ kind: 'network', id: n.network, name: networkName(n.network) }} />],
              [t('vm.mac'), (n) => <span className="mono">{n.mac}</span>],
              [t('vm.model'), (n) => n.model],
              [
                t('vm.link'),
                (n) => (
                  <Status tone={n.link_up === false ? 'off' : 'good'}>
                    {t(n.link_up === false ? 'vm.linkDown' : 'vm.linkUp')}
                  </Status>
                ),
              ],
              [
                '',
                (n) => (
                  <span className="row tight">
                    <Button size="small" disabled={!may} onClick={() => setOpen(n)}>
                      {t('ui.edit')}
                    </Button>
                    <Button size="small" danger disabled={!may} onClick={() => start(detach(vm), [n])}>
                      {t('vm.nicDetach')}
                    </Button>
                  </span>
                ),
              ],
            ]}
          />
        )}
      </Panel>
      {open === 'attach' && <AttachNic vm={vm} close={() => setOpen(undefined)} />}
      {open && open !== 'attach' && (
        <EditNic vm={vm} nic={open} network={networkName(open.network)} close={() => setOpen(undefined)} />
      )}
    </div>
  )
}

const models = MODELS.map((m) => ({ value: m, label: m }))

function AttachNic({ vm, close }: { vm: Vm; close: () => void }) {
  const t = useT()
  type Values = Schemas['NicCreate']
  const send = (v: Values, dryRun: boolean, signal?: AbortSignal) =>
    api.post('/v1/vms/{vm}/nics', { path: { vm: vm.id }, query: { dry_run: dryRun }, body: { ...v, mac: v.mac || null }, signal })
  return (
    <FormDialog<Values>
      title={`${t('vm.nicAttach')}: ${vm.name}`}
      ok={t('vm.nicAttach')}
      initial={{ model: 'virtio' }}
      close={close}
      submit={(v) => send(v, false)}
    >
      <Form.Item name="network" label={t('vm.network')} rules={[{ required: true, message: t('ui.needed') }]}>
        <ObjectSelect kind="network" find={findNetworks} by="name" />
      </Form.Item>
      <Form.Item name="model" label={t('vm.model')}>
        <Select options={models} />
      </Form.Item>
      <Form.Item name="mac" label={t('vm.mac')} extra={t('vm.macHelp')}>
        <Input spellCheck={false} />
      </Form.Item>
      <Ahead<Values> ask={(v, signal) => send(v, true, signal)} wanted={(v) => !!v.network} />
    </FormDialog>
  )
}

function EditNic({ vm, nic, network, close }: { vm: Vm; nic: Nic; network?: string; close: () => void }) {
  const t = useT()
  type Values = { network: string; model: Schemas['NicModel']; link_up: boolean }
  const was: Values = { network: nic.network, model: nic.model ?? 'virtio', link_up: nic.link_up ?? true }
  const changed = (v: Values) => Object.fromEntries(Object.entries(v).filter(([k, value]) => value !== was[k as keyof Values]))
  const send = (v: Values, dryRun: boolean, signal?: AbortSignal) =>
    api.patch('/v1/vms/{vm}/nics/{nic}', {
      path: { vm: vm.id, nic: nic.id },
      query: { dry_run: dryRun },
      body: changed(v),
      signal,
    })
  return (
    <FormDialog<Values>
      title={`${t('vm.nicEdit')}: ${vm.name}`}
      ok={t('ui.save')}
      initial={was}
      close={close}
      submit={(v) => send(v, false)}
    >
      <Form.Item name="network" label={t('vm.network')}>
        <ObjectSelect kind="network" find={findNetworks} by="id" known={{ id: nic.network, name: network }} />
      </Form.Item>
      <Form.Item name="model" label={t('vm.model')}>
        <Select options={models} />
      </Form.Item>
      <Form.Item name="link_up" label={t('vm.link')} valuePropName="checked">
        <Switch />
      </Form.Item>
      <Ahead<Values> ask={(v, signal) => send(v, true, signal)} wanted={(v) => Object.keys(changed(v)).length > 0} />
    </FormDialog>
  )
}
