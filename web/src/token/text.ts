export const en = {
  many: 'API tokens',
  name: 'Name',
  user: 'User',
  role: 'At most the role',
  scope: 'Over',
  expires: 'Expires',
  used: 'Last used',
  created: 'Created',
  create: 'Create a token',
  roleHelp: 'Left empty, the token may do what you may. With a role it may do less, never more.',
  valid: 'Good for',
  days: '{{count}} days',
  madeTitle: 'Token {{name}}',
  madeHelp: 'This is shown once. Keep it like a password.',
  delete: 'Revoke token',
  deleteText: 'Programs with these tokens are refused at once: {{names}}.',
  never: 'never',
  none: 'No tokens',
}
export const zh: Record<keyof typeof en, string> = {
  many: 'API 令牌',
  name: '名称',
  user: '用户',
  role: '最高角色',
  scope: '范围',
  expires: '过期时间',
  used: '最后使用',
  created: '创建时间',
  create: '创建令牌',
  roleHelp: '留空则令牌拥有您的全部权限；指定角色只会减少权限。',
  valid: '有效期',
  days: '{{count}} 天',
  madeTitle: '令牌 {{name}}',
  madeHelp: '仅显示一次，请像密码一样保管。',
  delete: '吊销令牌',
  deleteText: '使用这些令牌的程序会立即被拒绝：{{names}}。',
  never: '从未',
  none: '没有令牌',
}
declare module '../i18n' {
  interface Catalog {
    token: keyof typeof en
  }
}
