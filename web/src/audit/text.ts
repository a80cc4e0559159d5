export const en = {
  many: 'Audit',
  at: 'Time',
  actor: 'Who',
  operation: 'Operation',
  object: 'Object',
  result: 'Result',
  detail: 'Detail',
  source: 'From',
  request: 'Request',
  records: 'Records',
  retention: 'Kept for',
  days: '{{count}} days',
  daysField: 'Days',
  retentionHelp: 'Older records are removed, and the removal is a record itself. There is no other way to remove one.',
  retentionSave: 'Set',
  export: 'Export',
  exportHelp: 'Lines of JSON with their chain values; virga-audit verifies them.',
}
export const zh: Record<keyof typeof en, string> = {
  many: '审计',
  at: '时间',
  actor: '操作者',
  operation: '操作',
  object: '对象',
  result: '结果',
  detail: '详情',
  source: '来源',
  request: '请求',
  records: '记录',
  retention: '保留时间',
  days: '{{count}} 天',
  daysField: '天数',
  retentionHelp: '更早的记录会被删除，删除本身也会被记录。没有其他方式可以删除记录。',
  retentionSave: '设置',
  export: '导出',
  exportHelp: '带链值的 JSON 行，可用 virga-audit 验证。',
}
declare module '../i18n' {
  interface Catalog {
    audit: keyof typeof en
  }
}
