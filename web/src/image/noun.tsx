import { FileImageOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findImages } from './api'

export const image: Noun = {
  kind: 'image',
  icon: <FileImageOutlined />,
  label: 'image.many',
  privilege: 'image_read',
  path: (id) => `/images/${id}`,
  menu: { to: '/images', order: 30 },
  find: findImages,
  commands: [{ label: 'image.upload', to: '/images/new', privilege: 'image_manage' }],
  pages: [
    { path: '/images', load: () => import('./ImageListPage') },
    { path: '/images/new', load: () => import('./ImageUploadPage') },
    { path: '/images/$image', load: () => import('./ImagePage') },
  ],
}
