/** Making a VM: a name, an image, a size; everything else has a default. Beside it, what would come of it. */
import { Button, Checkbox, Collapse, Form, Input, InputNumber, Segmented, Select } from 'antd'
import { useEffect, useState } from 'react'
import { api } from '../../api/client'
import { findHosts } from '../../host/api'
import { useT } from '../../i18n'
import { findImages } from '../../image/api'
import { findNetworks, useNetworkNames } from '../../network/api'
import { markFields } from '../../ui/FormDialog'
import { size } from '../../ui/format'
import { useGo } from '../../ui/Link'
import { NAME, NameField } from '../../ui/NameField'
import { ObjectSelect } from '../../ui/ObjectSelect'
import { Page } from '../../ui/Page'
import { Panel } from '../../ui/Panel'
import { useUrlState } from '../../ui/urlState'
import { findIsos } from '../disk/MediaDialog'
import { usePlan } from '../Plan'
import { SizeField } from '../SizeField'
import { CreateSummary } from './CreateSummary'
import { type Choice, CPU_DEFAULT, FLAVOURS, requestOf } from './request'

const START: Choice = { cpus: 2, memory_bytes: FLAVOURS[1].memory_bytes, start: true, firmware: 'bios', cpu_mode: CPU_DEFAULT }

export default function CreatePage() {
  const t = useT()
  const go = useGo()
  const [search] = useUrlState()
  const [form] = Form.useForm<Choice>()
  const initial = { ...START, image: search.image, name: search.name, host: search.host }
  const [choice, setChoice] = useState<Choice>(initial)
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  useDefaultNetwork((network) => {
    if (form.isFieldTouched('network')) return
    form.setFieldsValue({ network })
    setChoice((c) => ({ ...c, network }))
  })
  const asked = choice.name && NAME.test(choice.name)
  const plan = usePlan(
    requestOf(choice),
    asked ? (signal) => api.post('/v1/vms', { query: { dry_run: true }, body: requestOf(choice), signal }) : undefined,
  )
  const create = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const made = await api.post('/v1/vms', { body: requestOf(choice) })
      go(`/vms/${made.object.id}`)
    } catch (e) {
      setError(e)
      markFields(form, e)
      setBusy(false)
    }
  }
  return (
    <Page title={t('vm.create')} crumbs={[{ label: t('vm.many'), to: '/vms' }]}>
      <Form
        form={form}
        layout="vertical"
        initialValues={initial}
        onValuesChange={(_, all) => setChoice((c) => ({ ...c, ...all }))}
        onFinish={() => void create()}
      >
        <div className="form-with-summary">
          <div className="stack">
            <Essentials choice={choice} onSize={(s) => form.setFieldsValue(s)} setChoice={setChoice} />
            <Collapse
              items={[
                { key: 'guest', label: t('vm.createGuest'), children: <FirstBoot />, forceRender: true },
                { key: 'more', label: t('vm.createAdvanced'), children: <Advanced />, forceRender: true },
              ]}
            />
          </div>
          <aside className="stack">
            <CreateSummary choice={choice} plan={plan} asked={!!asked} error={error}>
              <Button type="primary" htmlType="submit" block loading={busy} data-testid="create">
                {t('vm.createGo')}
              </Button>
            </CreateSummary>
          </aside>
        </div>
      </Form>
    </Page>
  )
}

/** The network `nat` is there from the first start; otherwise the only one, if there is only one. */
function useDefaultNetwork(choose: (name: string) => void) {
  const [chosen, setChosen] = useState(false)
  const names = useNetworkNames()
  useEffect(() => {
    if (chosen) return
    const abort = new AbortController()
    findNetworks('', abort.signal)
      .then((found) => {
        const one = found.find((n) => n.name === 'nat') ?? (found.length === 1 ? found[0] : undefined)
        setChosen(true)
        if (one?.name) choose(one.name)
      })
      .catch(() => undefined)
    return () => abort.abort()
  }, [chosen, choose])
  return names
}

interface EssentialsProps {
  choice: Choice
  onSize: (size: Pick<Choice, 'cpus' | 'memory_bytes'>) => void
  setChoice: React.Dispatch<React.SetStateAction<Choice>>
}

function Essentials({ choice, onSize, setChoice }: EssentialsProps) {
  const t = useT()
  const flavour = FLAVOURS.find((f) => f.cpus === choice.cpus && f.memory_bytes === choice.memory_bytes)?.key ?? 'own'
  const pick = (key: string) => {
    const f = FLAVOURS.find((x) => x.key === key)
    if (!f) return
    const own = { cpus: f.cpus, memory_bytes: f.memory_bytes }
    onSize(own)
    setChoice((c) => ({ ...c, ...own }))
  }
  const flavours = FLAVOURS.map((f) => ({
    value: f.key as string,
    label: `${t(`vm.flavour.${f.key}`)} (${f.cpus} × ${size(f.memory_bytes)})`,
  }))
  return (
    <Panel title={t('vm.createIdentity')}>
      <NameField label={t('vm.name')} autoFocus />
      <Form.Item name="image" label={t('vm.createImage')} extra={t('vm.createImageHelp')}>
        <ObjectSelect kind="image" find={findImages} by="name" allowClear />
      </Form.Item>
      <Form.Item label={t('vm.createFlavour')} htmlFor="cpus">
        <div className="stack" style={{ gap: 8 }}>
          <Segmented
            aria-label={t('vm.createFlavour')}
            value={flavour}
            onChange={pick}
            options={[...flavours, { value: 'own', label: t('vm.createFlavourOwn'), disabled: flavour !== 'own' }]}
          />
          <div className="row wide">
            <Form.Item name="cpus" noStyle>
              <InputNumber id="cpus" min={1} max={255} precision={0} suffix={t('vm.cpus')} style={{ width: 130 }} />
            </Form.Item>
            <Form.Item name="memory_bytes" noStyle>
              <SizeField label={t('vm.memory')} />
            </Form.Item>
          </div>
        </div>
      </Form.Item>
      <Form.Item
        name="size_bytes"
        label={t('vm.createDisk')}
        extra={t(choice.image || choice.size_bytes ? 'vm.createDiskHelp' : 'vm.createNoDisk')}
      >
        <SizeField label={t('vm.createDisk')} />
      </Form.Item>
      <Form.Item name="network" label={t('vm.createNetwork')}>
        <ObjectSelect kind="network" find={findNetworks} by="name" allowClear />
      </Form.Item>
      <Form.Item name="start" valuePropName="checked" noStyle>
        <Checkbox>{t('vm.createStart')}</Checkbox>
      </Form.Item>
    </Panel>
  )
}

function FirstBoot() {
  const t = useT()
  return (
    <>
      <Form.Item name="ssh_key" label={t('vm.createSsh')} extra={t('vm.createSshHelp')}>
        <Input.TextArea rows={2} spellCheck={false} className="mono" />
      </Form.Item>
      <Form.Item name="host_name" label={t('vm.createHostName')}>
        <Input spellCheck={false} />
      </Form.Item>
      <Form.Item name="user_data" label={t('vm.createUserData')} extra={t('vm.createUserDataHelp')}>
        <Input.TextArea rows={4} spellCheck={false} className="mono" />
      </Form.Item>
    </>
  )
}

function Advanced() {
  const t = useT()
  const modes = [CPU_DEFAULT, 'host-model', 'host-passthrough'].map((m) => ({
    value: m,
    label: m === CPU_DEFAULT ? 'custom: qemu64' : m,
  }))
  return (
    <div className="grid" style={{ columnGap: 24, rowGap: 0, gridTemplateColumns: 'repeat(auto-fit, minmax(240px, 1fr))' }}>
      <Form.Item name="iso" label={t('vm.createIso')}>
        <ObjectSelect kind="iso" find={findIsos} by="name" allowClear />
      </Form.Item>
      <Form.Item name="host" label={t('vm.createHost')} extra={t('vm.createHostHelp')}>
        <ObjectSelect kind="host" find={findHosts} by="name" allowClear />
      </Form.Item>
      <Form.Item name="firmware" label={t('vm.firmware')}>
        <Select options={(['bios', 'uefi'] as const).map((f) => ({ value: f, label: t(`vm.firmware.${f}`) }))} />
      </Form.Item>
      <Form.Item name="cpu_mode" label={t('vm.cpuMode')}>
        <Select options={modes} />
      </Form.Item>
      <Form.Item name="description" label={t('vm.description')}>
        <Input />
      </Form.Item>
    </div>
  )
}
