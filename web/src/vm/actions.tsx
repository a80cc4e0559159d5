/** What can be done with VMs: one list for the Actions menu, the right-click menu and bulk actions. */
import {
  CaretRightOutlined,
  CodeOutlined,
  CopyOutlined,
  DeleteOutlined,
  EditOutlined,
  ExportOutlined,
  PauseOutlined,
  PoweroffOutlined,
  ReloadOutlined,
  RollbackOutlined,
  SafetyOutlined,
  SnippetsOutlined,
  TagOutlined,
  ToolOutlined,
} from '@ant-design/icons'
import { lazy, type ReactNode } from 'react'
import { api } from '../api/client'
import type { Schemas } from '../api/schema'
import type { Key, T } from '../i18n'
import { clone, isLinked } from '../template/api'
import type { Action, Choices, Confirm } from '../ui/action'
import { size } from '../ui/format'
import { type PowerAction, power, stateOf, type Vm, type VmState } from './api'

// Loaded when they are opened.
const CloneDialog = lazy(() => import('../template/CloneDialog').then((m) => ({ default: m.CloneDialog })))
const MakeTemplate = lazy(() => import('../template/CloneDialog').then((m) => ({ default: m.MakeTemplate })))
const GrantDialog = lazy(() => import('../role/GrantDialog').then((m) => ({ default: m.GrantDialog })))
const ExportDialog = lazy(() => import('./ExportDialog').then((m) => ({ default: m.ExportDialog })))
const LabelsDialog = lazy(() => import('./LabelsDialog').then((m) => ({ default: m.LabelsDialog })))
const RenameDialog = lazy(() => import('../ui/RenameDialog').then((m) => ({ default: m.RenameDialog })))

type Batch = Schemas['VmBatchRequest']['action']
/** Names that a question says one by one; more are counted. */
const NAMED_MAX = 5

/** The names of a few, the number of many. */
function names(vms: Vm[], t: T): string {
  return vms.length > NAMED_MAX ? t('vm.blast.many', { count: vms.length }) : vms.map((v) => v.name).join(', ')
}

function addresses(vms: Vm[], t: T): string {
  const ips = vms.length === 1 ? (vms[0]?.observed.guest?.ips ?? []) : []
  return ips.length > 0 ? t('vm.blast.at', { ips: ips.slice(0, 4).join(', ') }) : ''
}

const blast =
  (key: Key) =>
  (vms: Vm[], t: T): Confirm => ({ text: t(key, { names: names(vms, t), detail: addresses(vms, t) }) })

async function batch(
  vms: Vm[],
  action: Batch,
  dryRun: boolean,
  more?: Partial<Schemas['VmBatchRequest']>,
): Promise<Map<string, string>> {
  const done = await api.post('/v1/vm-batches', {
    query: { dry_run: dryRun },
    body: { action, vms: vms.map((v) => v.id), ...more },
  })
  const ids = new Map(vms.flatMap((v) => [[v.id, v.id] as const, [v.name, v.id] as const]))
  return new Map(done.refused.map((r) => [ids.get(r.vm) ?? r.vm, [r.problem.detail, r.problem.hint].filter(Boolean).join(' ')]))
}

/** The batch of an action: previewed by the manager, and done in one request. */
function many(
  action: Batch,
  more: (choices: Choices) => Partial<Schemas['VmBatchRequest']> = () => ({}),
): Pick<Action<Vm>, 'preview' | 'runMany'> {
  return {
    preview: (vms, choices) => batch(vms, action, true, more(choices)),
    runMany: (vms, choices) => batch(vms, action, false, more(choices)),
  }
}

const busy = (vm: Vm): Key | undefined => (vm.task ? 'vm.not.busy' : undefined)
const needs =
  (why: Key, ...states: VmState[]) =>
  (vm: Vm) =>
    busy(vm) ?? (states.includes(stateOf(vm)) ? undefined : why)

/** Seconds for which the end of a task is waited for before it is taken back. */
const WAIT_S = 30

/** Takes an action back, once its task has ended: until then the VM takes no other. */
async function back(vm: Vm, action: PowerAction, task?: string) {
  if (task) await api.get('/v1/tasks/{task}', { path: { task }, query: { wait: WAIT_S } })
  return power(vm, action)
}

interface Power {
  id: string
  label: Key
  icon?: ReactNode
  action: PowerAction
  refused: (vm: Vm) => Key | undefined
  confirm?: Action<Vm>['confirm']
  batch?: Batch
  danger?: boolean
  shortcut?: string
  undo?: PowerAction
}

/** An action of the power button. */
function powerAction(p: Power): Action<Vm> {
  const forced = (choices: Choices) => (choices.force ? { then_force: true } : {})
  return {
    id: p.id,
    label: p.label,
    icon: p.icon,
    danger: p.danger,
    group: 1,
    privilege: 'vm_operate',
    shortcut: p.shortcut,
    refused: p.refused,
    confirm: p.confirm,
    run: async (vm, choices) => {
      const { task } = await power(vm, p.action, forced(choices))
      const { undo } = p
      return { task, undo: undo && (() => back(vm, undo, task?.id)) }
    },
    ...(p.batch && many(p.batch, forced)),
  }
}

const POWER: Action<Vm>[] = [
  powerAction({
    id: 'start',
    label: 'vm.act.start',
    icon: <CaretRightOutlined />,
    action: 'start',
    batch: 'start',
    shortcut: 's',
    refused: (v) => {
      if (['running', 'paused'].includes(stateOf(v))) return busy(v) ?? 'vm.not.runs'
      return busy(v) ?? (stateOf(v) === 'crashed' ? 'vm.not.crashed' : undefined)
    },
  }),
  powerAction({
    id: 'shutdown',
    label: 'vm.act.shutdown',
    icon: <PoweroffOutlined />,
    action: 'shutdown',
    batch: 'shutdown',
    shortcut: 'd',
    refused: needs('vm.not.running', 'running'),
    confirm: (vms, t) => ({ ...blast('vm.blast.shutdown')(vms, t), options: [{ key: 'force', label: 'vm.option.force' }] }),
  }),
  powerAction({
    id: 'reboot',
    label: 'vm.act.reboot',
    icon: <ReloadOutlined />,
    action: 'reboot',
    batch: 'reboot',
    shortcut: 'r',
    refused: needs('vm.not.running', 'running'),
    confirm: blast('vm.blast.reboot'),
  }),
  powerAction({
    id: 'pause',
    label: 'vm.act.pause',
    icon: <PauseOutlined />,
    action: 'pause',
    batch: 'pause',
    refused: needs('vm.not.running', 'running'),
    confirm: blast('vm.blast.pause'),
    undo: 'resume',
  }),
  powerAction({
    id: 'resume',
    label: 'vm.act.resume',
    action: 'resume',
    batch: 'resume',
    refused: needs('vm.not.paused', 'paused'),
    undo: 'pause',
  }),
  powerAction({
    id: 'hibernate',
    label: 'vm.act.hibernate',
    action: 'hibernate',
    batch: 'hibernate',
    refused: needs('vm.not.running', 'running'),
    confirm: blast('vm.blast.hibernate'),
    undo: 'wake',
  }),
  powerAction({
    id: 'wake',
    label: 'vm.act.wake',
    action: 'wake',
    batch: 'start',
    refused: needs('vm.not.hibernated', 'hibernated'),
  }),
  powerAction({
    id: 'reset',
    label: 'vm.act.reset',
    action: 'reset',
    batch: 'reset',
    danger: true,
    refused: needs('vm.not.running', 'running', 'paused'),
    confirm: blast('vm.blast.reset'),
  }),
  powerAction({
    id: 'force-off',
    label: 'vm.act.forceOff',
    action: 'force_off',
    batch: 'force_off',
    danger: true,
    refused: needs('vm.not.off', 'running', 'paused', 'hibernated', 'crashed', 'unknown'),
    confirm: blast('vm.blast.forceOff'),
  }),
]

/** Renames whatever the generation: a name is given by a person who sees the old one. */
const update = (vm: Vm, body: Schemas['VmUpdate']) => api.patch('/v1/vms/{vm}', { path: { vm: vm.id }, body })

const EDIT: Action<Vm>[] = [
  {
    id: 'console',
    label: 'vm.act.console',
    icon: <CodeOutlined />,
    group: 2,
    privilege: 'vm_console',
    shortcut: 'c',
    single: true,
    refused: (v) => (['running', 'paused'].includes(stateOf(v)) ? undefined : 'vm.not.console'),
    to: (v) => `/vms/${v.id}/console`,
  },
  {
    id: 'configure',
    label: 'vm.act.configure',
    icon: <ToolOutlined />,
    group: 2,
    privilege: 'vm_edit',
    shortcut: 'e',
    single: true,
    refused: busy,
    to: (v) => `/vms/${v.id}/configure`,
  },
  {
    id: 'rename',
    label: 'vm.act.rename',
    icon: <EditOutlined />,
    group: 2,
    privilege: 'vm_edit',
    single: true,
    refused: busy,
    dialog: (v, close) => <RenameDialog name={v.name} rename={(name) => update(v, { name })} close={close} />,
  },
  {
    id: 'labels',
    label: 'vm.act.labels',
    icon: <TagOutlined />,
    group: 2,
    privilege: 'vm_edit',
    single: true,
    refused: busy,
    dialog: (v, close) => <LabelsDialog vm={v} close={close} />,
  },
  {
    id: 'clone',
    label: 'template.clone',
    icon: <CopyOutlined />,
    group: 2,
    privilege: 'vm_edit',
    single: true,
    refused: busy,
    dialog: (v, close) => (
      <CloneDialog title={v.name} linked={isLinked(v.spec)} send={(body) => clone(v.id, body)} close={close} />
    ),
  },
  {
    id: 'template',
    label: 'template.make',
    icon: <SnippetsOutlined />,
    group: 2,
    privilege: 'vm_edit',
    single: true,
    refused: busy,
    dialog: (v, close) => <MakeTemplate vm={v} off={stateOf(v) === 'stopped'} close={close} />,
  },
  {
    id: 'refresh',
    label: 'template.refresh',
    icon: <RollbackOutlined />,
    group: 2,
    danger: true,
    privilege: 'vm_edit',
    single: true,
    refused: (v) => busy(v) ?? (isLinked(v.spec) ? undefined : 'template.not.linked'),
    confirm: (vms, t) => ({ text: t('template.refreshText', { names: names(vms, t) }) }),
    run: (v) => api.post('/v1/vms/{vm}/refresh', { path: { vm: v.id } }),
  },
  {
    id: 'export',
    label: 'vm.act.export',
    icon: <ExportOutlined />,
    group: 2,
    privilege: 'vm_edit',
    single: true,
    refused: busy,
    dialog: (v, close) => <ExportDialog vm={v} close={close} />,
  },
  {
    id: 'grant',
    label: 'vm.act.grant',
    icon: <SafetyOutlined />,
    group: 2,
    privilege: 'user_manage',
    single: true,
    dialog: (v, close) => <GrantDialog vm={v} close={close} />,
  },
]

const REMOVE: Action<Vm> = {
  id: 'delete',
  label: 'vm.act.delete',
  icon: <DeleteOutlined />,
  group: 3,
  danger: true,
  privilege: 'vm_delete',
  refused: busy,
  confirm: (vms, t) => {
    const disks = vms.flatMap((v) => v.spec.disks ?? [])
    const bytes = disks.reduce((n, d) => n + d.size_bytes, 0)
    return {
      text: t('vm.blast.delete', { names: names(vms, t), disks: `${disks.length} (${size(bytes)})`, detail: addresses(vms, t) }),
      typeName: true,
      // A batch deletes what is off, and says so of the others.
      options:
        vms.length === 1
          ? [
              ...(vms.some((v) => ['running', 'paused'].includes(stateOf(v)))
                ? [{ key: 'force', label: 'vm.option.running' as Key }]
                : []),
              { key: 'erase', label: 'vm.option.erase' },
            ]
          : undefined,
    }
  },
  run: async (vm, choices) =>
    api.delete('/v1/vms/{vm}', {
      path: { vm: vm.id },
      query: { force: choices.force ?? false, erase: choices.erase ? 'secure' : undefined },
    }),
  ...many('delete'),
}

export const vmActions: Action<Vm>[] = [...POWER, ...EDIT, REMOVE]
