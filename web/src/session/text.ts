export const en = {
  title: 'Sign in to Virga',
  user: 'User',
  password: 'Password',
  signIn: 'Sign in',
  signOut: 'Sign out',
  account: 'My account',
  lost: 'Your session has ended. Sign in again; you come back to this page.',
  firstHelp:
    'The first sign-in: user admin, with the one-time password that the manager wrote into the file admin-password in its state folder.',
  wait: 'Try again in {{seconds}} s',
  changeTitle: 'Choose a new password',
  changeFirst: 'You signed in with a one-time password. Choose your own before anything else.',
  current: 'Present password',
  new: 'New password',
  again: 'New password once more',
  different: 'The two are not the same.',
  newHelp: 'At least 12 characters. A sentence is good and easy to remember. It must not be your name.',
  change: 'Change password',
  changed: 'Your password was changed. Other sessions of yours have ended.',
  needed: 'This is needed.',
  privileges: 'You may',
  grants: 'Your roles',
  checking: 'One moment',
}

export const zh: Record<keyof typeof en, string> = {
  title: '登录 Virga',
  user: '用户',
  password: '密码',
  signIn: '登录',
  signOut: '退出登录',
  account: '我的账户',
  lost: '会话已结束。请重新登录，之后会回到本页。',
  firstHelp: '首次登录：用户 admin，使用管理节点写入其状态目录 admin-password 文件中的一次性密码。',
  wait: '{{seconds}} 秒后重试',
  changeTitle: '设置新密码',
  changeFirst: '您使用一次性密码登录。请先设置自己的密码。',
  current: '当前密码',
  new: '新密码',
  again: '再次输入新密码',
  different: '两次输入不一致。',
  newHelp: '至少 12 个字符。一句话既安全又好记。不能与用户名相同。',
  change: '修改密码',
  changed: '密码已修改，您的其他会话已结束。',
  needed: '此项必填。',
  privileges: '您可以',
  grants: '您的角色',
  checking: '请稍候',
}

declare module '../i18n' {
  interface Catalog {
    session: keyof typeof en
  }
}
