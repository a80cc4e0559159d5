export const en = {
  take: 'Take a snapshot',
  name: 'Name',
  note: 'Note',
  kind: 'Kind',
  'kind.ordinary': 'ordinary',
  'kind.consistent': 'consistent',
  'kind.memory': 'with memory',
  kindHelp:
    'Consistent asks the guest agent to hold its file systems meanwhile; ordinary is as after a loss of power; with memory the guest runs on where it was.',
  memory: 'memory',
  size: 'Hardware then',
  'state.creating': 'being taken',
  'state.ready': 'ready',
  'state.deleting': 'being deleted',
  current: 'you are here',
  none: 'No snapshots. One keeps the disks and the hardware as they are now, and the memory if asked.',
  revert: 'Revert to it',
  revertText:
    'The disks and the hardware of {{vm}} become what they were in {{name}}. What was written since is lost, unless another snapshot holds it.',
  revertStart: 'Start it afterwards',
  revertCold: 'Leave the memory out: disks and hardware only, switched off',
  edit: 'Edit name and note',
  delete: 'Delete snapshot',
  deleteText: 'The snapshot {{name}} of {{vm}} goes; the disks stay as they are. Its space is free when the layers are merged.',
  'not.ready': 'It is not ready.',
  tree: 'Snapshots',
}
export const zh: Record<keyof typeof en, string> = {
  take: '创建快照',
  name: '名称',
  note: '备注',
  kind: '类型',
  'kind.ordinary': '普通',
  'kind.consistent': '一致性',
  'kind.memory': '含内存',
  kindHelp: '一致性快照会请客户机代理在期间冻结文件系统；普通快照相当于断电后的状态；含内存的快照可让客户机从当时继续运行。',
  memory: '内存',
  size: '当时的硬件',
  'state.creating': '正在创建',
  'state.ready': '就绪',
  'state.deleting': '正在删除',
  current: '当前位置',
  none: '没有快照。快照保存当前的磁盘和硬件，可选择包含内存。',
  revert: '恢复到此快照',
  revertText: '{{vm}} 的磁盘和硬件将恢复为 {{name}} 时的状态。此后写入的内容会丢失，除非有其他快照保存。',
  revertStart: '之后启动',
  revertCold: '不恢复内存：仅恢复磁盘和硬件，保持关机',
  edit: '编辑名称和备注',
  delete: '删除快照',
  deleteText: '{{vm}} 的快照 {{name}} 将被删除；磁盘保持现状。层合并后空间释放。',
  'not.ready': '尚未就绪。',
  tree: '快照',
}
declare module '../i18n' {
  interface Catalog {
    snapshot: keyof typeof en
  }
}
