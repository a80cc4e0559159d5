/** What can be done with a template. */
import { CopyOutlined, DeleteOutlined, EditOutlined, SwapOutlined } from '@ant-design/icons'
import { lazy } from 'react'
import { api } from '../api/client'
import { useT } from '../i18n'
import type { Action } from '../ui/action'
import { deploy, type Template } from './api'

// Loaded when they are opened.
const CloneDialog = lazy(() => import('./CloneDialog').then((m) => ({ default: m.CloneDialog })))
const RenameDialog = lazy(() => import('../ui/RenameDialog').then((m) => ({ default: m.RenameDialog })))

function Deploy({ template, close }: { template: Template; close: () => void }) {
  const t = useT()
  return (
    <CloneDialog
      title={`${t('template.deploy')}: ${template.name}`}
      linked={false}
      send={(body) => deploy(template.id, body)}
      close={close}
    />
  )
}

const pathOf = (x: Template) => ({ template: x.id })
const words = (all: Template[]) => ({ names: all.map((x) => x.name).join(', ') })

export const templateActions: Action<Template>[] = [
  {
    id: 'deploy',
    label: 'template.deploy',
    icon: <CopyOutlined />,
    group: 1,
    privilege: 'vm_create',
    single: true,
    dialog: (x, close) => <Deploy template={x} close={close} />,
  },
  {
    id: 'rename',
    label: 'template.rename',
    icon: <EditOutlined />,
    group: 2,
    privilege: 'vm_edit',
    single: true,
    dialog: (x, close) => (
      <RenameDialog
        name={x.name}
        rename={(name) => api.patch('/v1/templates/{template}', { path: pathOf(x), body: { name } })}
        close={close}
      />
    ),
  },
  {
    id: 'convert',
    label: 'template.convert',
    icon: <SwapOutlined />,
    group: 2,
    privilege: 'vm_edit',
    single: true,
    confirm: (all, t) => ({ text: t('template.convertText', words(all)) }),
    run: (x) => api.post('/v1/templates/{template}/convert', { path: pathOf(x) }),
  },
  {
    id: 'delete',
    label: 'template.delete',
    icon: <DeleteOutlined />,
    group: 3,
    danger: true,
    privilege: 'vm_delete',
    confirm: (all, t) => ({ text: t('template.deleteText', words(all)), typeName: true }),
    run: (x) => api.delete('/v1/templates/{template}', { path: pathOf(x) }),
  },
]
