export const en = {
  many: 'Networks',
  name: 'Name',
  kind: 'Kind',
  detail: 'Details',
  created: 'Created',
  create: 'Create a network',
  'kind.nat': 'NAT',
  'kind.ovs': 'Open vSwitch bridge',
  natHelp:
    'A private network on every host with DHCP and DNS. Guests reach out through the host; guests of different hosts do not see each other.',
  ovsHelp:
    'A bridge of that name on every host. With an uplink, guests reach the network behind it; with a VLAN their ports are tagged.',
  cidr: 'Address range',
  cidrHelp: 'For example 192.168.201.0/24; prefix 16 to 28. The first address is the host’s.',
  bridge: 'Bridge',
  uplink: 'Uplink',
  uplinkHelp:
    'An interface of the hosts that carries no address of theirs. Without one the guests of a host see only each other.',
  vlan: 'VLAN',
  vms: 'VMs on it',
  state: 'State',
  'state.ready': 'ready',
  'state.deleting': 'being deleted',
  delete: 'Delete network',
  deleteText: 'Removed from every host that has it: {{names}}. It is refused while a VM uses it.',
  'not.deleting': 'It is being deleted.',
  none: 'No networks yet',
}
export const zh: Record<keyof typeof en, string> = {
  many: '网络',
  name: '名称',
  kind: '类型',
  detail: '详情',
  created: '创建时间',
  create: '创建网络',
  'kind.nat': 'NAT',
  'kind.ovs': 'Open vSwitch 网桥',
  natHelp: '每台主机上的私有网络，带 DHCP 和 DNS。虚拟机经主机访问外部；不同主机上的虚拟机互不可见。',
  ovsHelp: '每台主机上的同名网桥。配置上行口后虚拟机可访问其后的网络；配置 VLAN 后端口会打标签。',
  cidr: '地址段',
  cidrHelp: '例如 192.168.201.0/24；前缀 16 到 28。第一个地址归主机所有。',
  bridge: '网桥',
  uplink: '上行口',
  uplinkHelp: '主机上不承载自身地址的接口。没有上行口时，同一主机的虚拟机只能互相访问。',
  vlan: 'VLAN',
  vms: '使用它的虚拟机',
  state: '状态',
  'state.ready': '就绪',
  'state.deleting': '正在删除',
  delete: '删除网络',
  deleteText: '将从所有拥有它的主机上移除：{{names}}。有虚拟机使用时会被拒绝。',
  'not.deleting': '正在删除。',
  none: '还没有网络',
}
declare module '../i18n' {
  interface Catalog {
    network: keyof typeof en
  }
}
