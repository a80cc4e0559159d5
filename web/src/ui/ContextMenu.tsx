/** The Actions menu where the mouse is. */
import { Dropdown } from 'antd'
import { type Action, type Named, useActionItems } from './action'

interface MenuProps<R extends Named> {
  actions: Action<R>[]
  objects: R[]
  at: { x: number; y: number }
  close: () => void
}

export function ContextMenu<R extends Named>({ actions, objects, at, close }: MenuProps<R>) {
  const items = useActionItems()
  return (
    <Dropdown
      open
      onOpenChange={(open) => !open && close()}
      trigger={['click']}
      menu={{ items: items(actions, objects), onClick: close, autoFocus: true }}
      autoFocus
    >
      <span style={{ position: 'fixed', left: at.x, top: at.y, width: 1, height: 1 }} />
    </Dropdown>
  )
}
