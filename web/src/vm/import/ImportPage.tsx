/** Making a VM of a package: which package, which network here for each of its networks, and what would come of it. */
import { useQuery } from '@tanstack/react-query'
import { Button, Checkbox, Form, Select } from 'antd'
import { useState } from 'react'
import { api } from '../../api/client'
import type { Schemas } from '../../api/schema'
import { useT } from '../../i18n'
import { findPackages, type Image } from '../../image/api'
import { findNetworks } from '../../network/api'
import { markFields } from '../../ui/FormDialog'
import { GoLink, useGo } from '../../ui/Link'
import { NameField } from '../../ui/NameField'
import { ObjectSelect } from '../../ui/ObjectSelect'
import { Page } from '../../ui/Page'
import { Panel } from '../../ui/Panel'
import { ProblemAlert } from '../../ui/ProblemAlert'
import { useUrlState } from '../../ui/urlState'
import { PlanView, usePlan } from '../Plan'

const BUSES = ['virtio', 'scsi', 'ide', 'usb'] as const

interface Choice {
  package?: string
  name?: string
  bus?: (typeof BUSES)[number]
  networks?: (string | undefined)[]
  keep_macs?: boolean
  leave_out?: boolean
  start?: boolean
}

function requestOf(c: Choice, sources: string[]): Schemas['VmImport'] {
  const chosen = sources.flatMap((s, i): [string, string][] => {
    const target = c.networks?.[i]
    return target ? [[s, target]] : []
  })
  const { package: source = '', name, bus, keep_macs, leave_out, start } = c
  return { package: source, name: name || undefined, bus, keep_macs, leave_out, start, networks: Object.fromEntries(chosen) }
}

export default function ImportPage() {
  const t = useT()
  const go = useGo()
  const [search] = useUrlState()
  const [form] = Form.useForm<Choice>()
  const [choice, setChoice] = useState<Choice>({ package: search.package })
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const found = useQuery({
    queryKey: ['package', choice.package],
    queryFn: ({ signal }) => api.get('/v1/images/{image}', { path: { image: choice.package ?? '' }, signal }) as Promise<Image>,
    enabled: !!choice.package,
    retry: false,
  })
  const machine = found.data?.package?.machine
  const sources = [...new Set(machine?.nics.map((n) => n.network) ?? [])]
  const request = requestOf(choice, sources)
  const plan = usePlan(
    request,
    machine ? (signal) => api.post('/v1/vm-imports', { query: { dry_run: true }, body: request, signal }) : undefined,
  )
  const run = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const made = await api.post('/v1/vm-imports', { body: request })
      go(`/vms/${made.object.id}`)
    } catch (e) {
      setError(e)
      markFields(form, e)
      setBusy(false)
    }
  }
  return (
    <Page title={t('vm.import')} crumbs={[{ label: t('vm.many'), to: '/vms' }]}>
      <Form
        form={form}
        layout="vertical"
        initialValues={choice}
        onValuesChange={(_, all) => setChoice((c) => ({ ...c, ...all }))}
        onFinish={() => void run()}
      >
        <div className="form-with-summary">
          <Panel title={t('vm.importPackage')}>
            <Form.Item
              name="package"
              label={t('vm.importPackage')}
              extra={t('vm.importPackageHelp')}
              rules={[{ required: true, message: t('ui.needed') }]}
            >
              <ObjectSelect kind="package" find={findPackages} by="name" />
            </Form.Item>
            <GoLink to="/images/new">{t('vm.importUpload')}</GoLink>
            <NameField label={t('vm.name')} optional={!!machine?.name} />
            {sources.map((source, i) => (
              <Form.Item key={source} name={['networks', i]} label={t('vm.importNetwork', { name: source })}>
                <ObjectSelect kind="network" find={findNetworks} by="name" allowClear />
              </Form.Item>
            ))}
            <Form.Item name="bus" label={t('vm.importBus')}>
              <Select allowClear options={BUSES.map((b) => ({ value: b, label: b }))} placeholder={t('vm.importBusOwn')} />
            </Form.Item>
            <Form.Item name="keep_macs" valuePropName="checked" noStyle>
              <Checkbox>{t('vm.importKeepMacs')}</Checkbox>
            </Form.Item>
            <Form.Item name="leave_out" valuePropName="checked" noStyle>
              <Checkbox>{t('vm.importLeaveOut')}</Checkbox>
            </Form.Item>
            <Form.Item name="start" valuePropName="checked" noStyle>
              <Checkbox>{t('vm.createStart')}</Checkbox>
            </Form.Item>
          </Panel>
          <aside className="stack">
            <Panel title={t('vm.importPlan')}>
              <PlanView plan={plan.data?.plan} error={found.error ?? plan.error} busy={plan.isFetching} />
            </Panel>
            <ProblemAlert error={error} />
            <Button type="primary" htmlType="submit" block loading={busy} disabled={!machine}>
              {t('vm.importGo')}
            </Button>
          </aside>
        </div>
      </Form>
    </Page>
  )
}
