export const en = {
  many: 'System',
  about: 'This installation',
  version: 'Version',
  administration: 'Administration',
  'administration.one-admin': 'one administrator',
  'administration.three-roles': 'three separated administrators',
  capabilities: 'Abilities',
  figures: 'Figures',
  hosts: 'Hosts',
  hostsText: '{{up}} up of {{all}}',
  vms: 'VMs',
  vmsText: '{{running}} running of {{all}}',
  tasks: 'Tasks under way',
  links: 'For programs',
  metrics: 'Figures for Prometheus',
  openapi: 'The API’s document (OpenAPI)',
  docs: 'The API’s page',
}
export const zh: Record<keyof typeof en, string> = {
  many: '系统',
  about: '本系统',
  version: '版本',
  administration: '管理方式',
  'administration.one-admin': '单一管理员',
  'administration.three-roles': '三员分立',
  capabilities: '能力',
  figures: '数据',
  hosts: '主机',
  hostsText: '共 {{all}} 台，{{up}} 台正常',
  vms: '虚拟机',
  vmsText: '共 {{all}} 台，{{running}} 台运行中',
  tasks: '进行中的任务',
  links: '供程序使用',
  metrics: 'Prometheus 指标',
  openapi: 'API 文档（OpenAPI）',
  docs: 'API 页面',
}
declare module '../i18n' {
  interface Catalog {
    system: keyof typeof en
  }
}
