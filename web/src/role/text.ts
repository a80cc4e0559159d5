export const en = {
  many: 'Roles',
  bindings: 'Granted roles',
  roles: 'What roles allow',
  user: 'User',
  role: 'Role',
  scope: 'Over',
  scopeObject: 'Which one',
  grant: 'Grant a role',
  privileges: 'Privileges',
  description: 'Description',
  'scope.all': 'everything',
  'scope.own': 'own VMs',
  'scope.host': 'a host and its VMs',
  'scope.vm': 'one VM',
  'scope.own_on_host': 'own VMs on a host',
  revoke: 'Take the role back',
  revokeText: 'What the role allowed is forbidden at once: {{names}}.',
  none: 'No roles granted',
}
export const zh: Record<keyof typeof en, string> = {
  many: '角色',
  bindings: '已授予的角色',
  roles: '角色的权限',
  user: '用户',
  role: '角色',
  scope: '范围',
  scopeObject: '对象',
  grant: '授予角色',
  privileges: '权限',
  description: '说明',
  'scope.all': '全部',
  'scope.own': '自己的虚拟机',
  'scope.host': '某主机及其虚拟机',
  'scope.vm': '某台虚拟机',
  'scope.own_on_host': '某主机上自己的虚拟机',
  revoke: '收回角色',
  revokeText: '角色所允许的操作立即被禁止：{{names}}。',
  none: '没有授予角色',
}
declare module '../i18n' {
  interface Catalog {
    role: keyof typeof en
  }
}
