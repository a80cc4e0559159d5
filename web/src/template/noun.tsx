import { SnippetsOutlined } from '@ant-design/icons'
import type { Noun } from '../app/noun'
import { findTemplates } from './api'

export const template: Noun = {
  kind: 'template',
  icon: <SnippetsOutlined />,
  label: 'template.many',
  path: (id) => `/templates/${id}`,
  menu: { to: '/templates', order: 15 },
  find: findTemplates,
  pages: [
    { path: '/templates', load: () => import('./TemplateListPage') },
    { path: '/templates/$template', load: () => import('./TemplatePage') },
  ],
}
