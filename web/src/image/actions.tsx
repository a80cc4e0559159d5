/** What can be done with an image. */
import { CloudUploadOutlined, DeleteOutlined, ImportOutlined, PlusOutlined } from '@ant-design/icons'
import { api } from '../api/client'
import type { Action } from '../ui/action'
import type { Image } from './api'

const notReady = (i: Image) => (i.state === 'ready' ? undefined : i.state === 'empty' ? 'image.not.ready' : 'image.not.deleting')

export const imageActions: Action<Image>[] = [
  {
    id: 'use',
    label: 'image.use',
    icon: <PlusOutlined />,
    group: 1,
    privilege: 'vm_create',
    single: true,
    refused: (i) => notReady(i) ?? (i.format === 'ova' ? 'image.not.disk' : undefined),
    to: (i) => `/vms/new?image=${encodeURIComponent(i.name)}`,
  },
  {
    id: 'import',
    label: 'image.import',
    icon: <ImportOutlined />,
    group: 1,
    privilege: 'vm_create',
    single: true,
    refused: (i) => notReady(i) ?? (i.format === 'ova' ? undefined : 'image.not.package'),
    to: (i) => `/vms/import?package=${encodeURIComponent(i.name)}`,
  },
  {
    id: 'content',
    label: 'image.uploadAgain',
    icon: <CloudUploadOutlined />,
    group: 1,
    privilege: 'image_manage',
    single: true,
    refused: (i) => (i.state === 'empty' ? undefined : 'image.not.filled'),
    to: (i) => `/images/new?name=${encodeURIComponent(i.name)}`,
  },
  {
    id: 'delete',
    label: 'image.delete',
    icon: <DeleteOutlined />,
    group: 2,
    danger: true,
    privilege: 'image_manage',
    refused: (i) => (i.state === 'deleting' ? 'image.not.deleting' : i.part_of ? 'image.not.whole' : undefined),
    confirm: (images, t) => ({ text: t('image.deleteText', { names: images.map((i) => i.name).join(', ') }), typeName: true }),
    run: async (i) => api.delete('/v1/images/{image}', { path: { image: i.id } }),
  },
]
