export const en = {
  many: 'Events',
  bell: 'Warnings and errors: {{count}} new',
  bellNone: 'Nothing needs your attention.',
  at: 'Time',
  severity: 'Severity',
  kind: 'Kind',
  object: 'Object',
  message: 'Message',
  task: 'Task',
  all: 'All events',
  none: 'No events yet',
  'severity.info': 'information',
  'severity.warning': 'warning',
  'severity.error': 'error',
}
export const zh: Record<keyof typeof en, string> = {
  many: '事件',
  bell: '警告与错误：{{count}} 条新消息',
  bellNone: '没有需要您关注的事项。',
  at: '时间',
  severity: '级别',
  kind: '类型',
  object: '对象',
  message: '消息',
  task: '任务',
  all: '全部事件',
  none: '还没有事件',
  'severity.info': '信息',
  'severity.warning': '警告',
  'severity.error': '错误',
}
declare module '../i18n' {
  interface Catalog {
    event: keyof typeof en
  }
}
