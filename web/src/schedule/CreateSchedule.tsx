/** Making a schedule. */
import { Form, Input, InputNumber, Segmented, Select } from 'antd'
import { api } from '../api/client'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { FormDialog } from '../ui/FormDialog'
import { NameField } from '../ui/NameField'
import { ObjectSelect } from '../ui/ObjectSelect'
import { findVms } from '../vm/api'
import { reread } from './api'

interface Values {
  name: string
  about: 'vm' | 'selector'
  vm?: string
  labels?: string[]
  every: Schemas['ScheduleRule']['every']
  hours?: number
  days?: Schemas['Weekday'][]
  at?: string[]
  zone: string
  kind: Schemas['SnapshotKind']
  count?: number | null
  keepDays?: number | null
}

const DAYS = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'] as const

function ruleOf(v: Values): Schemas['ScheduleRule'] {
  if (v.every === 'hours') return { every: 'hours', hours: v.hours ?? 1, minute: 0 }
  if (v.every === 'week') return { every: 'week', days: v.days ?? [], at: v.at ?? [] }
  return { every: 'day', at: v.at ?? [] }
}

/** `KEY=VALUE` as the API has it. */
const selectorOf = (labels: string[]) => Object.fromEntries(labels.map((l) => [l.split('=')[0], l.split('=').slice(1).join('=')]))

export function CreateSchedule({ close }: { close: () => void }) {
  const t = useT()
  const needed = [{ required: true, message: t('ui.needed') }]
  const submit = async (v: Values) => {
    await api.post('/v1/schedules', {
      body: {
        name: v.name,
        vm: v.about === 'vm' ? (v.vm ?? '') : null,
        selector: v.about === 'selector' ? selectorOf(v.labels ?? []) : {},
        rule: ruleOf(v),
        time_zone: v.zone,
        work: { do: 'snapshot', kind: v.kind },
        keep: { count: v.count ?? null, days: v.keepDays ?? null },
      },
    })
    await reread()
  }
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
  return (
    <FormDialog<Values>
      title={t('schedule.create')}
      ok={t('ui.create')}
      initial={{ about: 'vm', every: 'day', at: ['02:00'], hours: 6, zone, kind: 'ordinary', count: 7 }}
      close={close}
      submit={submit}
    >
      {(form) => (
        <>
          <NameField label={t('schedule.name')} autoFocus />
          <Form.Item name="about" label={t('schedule.vms')}>
            <Segmented options={(['vm', 'selector'] as const).map((a) => ({ value: a, label: t(`schedule.about.${a}`) }))} />
          </Form.Item>
          <Form.Item noStyle shouldUpdate={(a: Values, b: Values) => a.about !== b.about}>
            {() =>
              form.getFieldValue('about') === 'vm' ? (
                <Form.Item name="vm" label={t('schedule.vm')} rules={needed}>
                  <ObjectSelect kind="vm" find={findVms} by="id" label={t('schedule.vm')} />
                </Form.Item>
              ) : (
                <Form.Item name="labels" label={t('schedule.labels')} extra={t('schedule.labelsHelp')} rules={needed}>
                  <Select mode="tags" tokenSeparators={[',', ' ']} open={false} />
                </Form.Item>
              )
            }
          </Form.Item>
          <Form.Item name="every" label={t('schedule.when')}>
            <Segmented
              options={(['day', 'week', 'hours'] as const).map((e) => ({ value: e, label: t(`schedule.every.${e}`) }))}
            />
          </Form.Item>
          <Form.Item noStyle shouldUpdate={(a: Values, b: Values) => a.every !== b.every}>
            {() => {
              const every = form.getFieldValue('every')
              if (every === 'hours')
                return (
                  <Form.Item name="hours" label={t('schedule.hours')} extra={t('schedule.hoursHelp')} rules={needed}>
                    <InputNumber min={1} max={168} precision={0} />
                  </Form.Item>
                )
              return (
                <>
                  {every === 'week' && (
                    <Form.Item name="days" label={t('schedule.days')} rules={needed}>
                      <Select mode="multiple" options={DAYS.map((d) => ({ value: d, label: t(`schedule.${d}`) }))} />
                    </Form.Item>
                  )}
                  <Form.Item name="at" label={t('schedule.at')} extra={t('schedule.atHelp')} rules={needed}>
                    <Select mode="tags" tokenSeparators={[',', ' ']} open={false} />
                  </Form.Item>
                  <Form.Item name="zone" label={t('schedule.zone')} rules={needed}>
                    <Input spellCheck={false} />
                  </Form.Item>
                </>
              )
            }}
          </Form.Item>
          <Form.Item name="kind" label={t('schedule.work')}>
            <Segmented
              options={(['ordinary', 'consistent', 'memory'] as const).map((k) => ({ value: k, label: t(`snapshot.kind.${k}`) }))}
            />
          </Form.Item>
          <Form.Item name="count" label={t('schedule.keepCount')} extra={t('schedule.keepHelp')}>
            <InputNumber min={1} max={32} precision={0} />
          </Form.Item>
          <Form.Item name="keepDays" label={t('schedule.keepDays')}>
            <InputNumber min={1} max={3660} precision={0} />
          </Form.Item>
        </>
      )}
    </FormDialog>
  )
}
