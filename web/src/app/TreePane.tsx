/** The inventory as a tree: hosts with their VMs, and the library. Branches are read when they are opened. */
import { Input, Segmented, Tree, type TreeDataNode } from 'antd'
import { type Key as ReactKey, useDeferredValue, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react'
import { useT } from '../i18n'
import { ContextMenu } from '../ui/ContextMenu'
import { useGo } from '../ui/Link'
import { remember, remembered } from '../ui/urlState'
import { type TreeNode, useTree } from './useTree'

const WIDTH_MIN = 180
const WIDTH_MAX = 520

export function TreePane() {
  const t = useT()
  const [view, setView] = useState<'hosts' | 'library'>('hosts')
  const [typed, setTyped] = useState('')
  const text = useDeferredValue(typed.trim())
  const [width, setWidth] = useState(() => remembered('treeWidth', 248))
  return (
    <nav className="tree-pane" aria-label={t('app.inventory')} style={{ '--tree-width': `${width}px` } as React.CSSProperties}>
      <div className="tree-tools">
        <Segmented
          block
          size="small"
          aria-label={t('app.inventory')}
          value={view}
          onChange={setView}
          options={[
            { value: 'hosts', label: t('app.treeHosts') },
            { value: 'library', label: t('app.treeLibrary') },
          ]}
        />
        <Input
          size="small"
          allowClear
          aria-label={t('app.treeFilter')}
          placeholder={t('app.treeFilter')}
          value={typed}
          maxLength={200}
          onChange={(e) => setTyped(e.target.value)}
        />
      </div>
      <Branches key={`${view} ${text}`} view={view} text={text} />
      <Handle width={width} onWidth={setWidth} />
    </nav>
  )
}

function Branches({ view, text }: { view: 'hosts' | 'library'; text: string }) {
  const t = useT()
  const go = useGo()
  const box = useRef<HTMLDivElement>(null)
  const [height, setHeight] = useState(300)
  const opened = `treeOpen.${view}`
  const [expanded, setExpanded] = useState<ReactKey[]>(() => (text ? [] : remembered<ReactKey[]>(opened, [])))
  const { nodes, load, find } = useTree(view, text, expanded)
  const [menu, setMenu] = useState<{ node: TreeNode; x: number; y: number }>()
  useLayoutEffect(() => {
    if (!box.current) return
    const watch = new ResizeObserver(([e]) => e && setHeight(e.contentRect.height))
    watch.observe(box.current)
    return () => watch.disconnect()
  }, [])
  useEffect(() => {
    if (!text) remember(opened, expanded.slice(0, 200))
  }, [expanded, opened, text])
  const data = useMemo(() => nodes.map((n) => nodeOf(n)), [nodes])
  return (
    <div className="tree-box" ref={box}>
      {nodes.length === 0 && text !== '' && <div className="empty">{t('app.treeEmpty')}</div>}
      <Tree
        aria-label={t('app.inventory')}
        height={height}
        blockNode
        showIcon={false}
        treeData={data}
        expandedKeys={expanded}
        onExpand={setExpanded}
        selectedKeys={[]}
        loadData={async ({ key }) => load(String(key))}
        onSelect={(_, { node }) => {
          const to = find(String(node.key))?.to
          if (to) go(to)
        }}
        onRightClick={({ event, node }) => {
          event.preventDefault()
          const found = find(String(node.key))
          if (found?.actions) setMenu({ node: found, x: event.clientX, y: event.clientY })
        }}
      />
      {menu?.node.actions && menu.node.object && (
        <ContextMenu actions={menu.node.actions} objects={[menu.node.object]} at={menu} close={() => setMenu(undefined)} />
      )}
    </div>
  )
}

function nodeOf(n: TreeNode): TreeDataNode {
  return {
    key: n.key,
    isLeaf: n.leaf,
    title: (
      <span className="tree-row" title={n.hint ?? n.label}>
        {n.tone && <span className={`dot ${n.tone}`} aria-hidden="true" />}
        {!n.tone && n.icon && <span className="dim">{n.icon}</span>}
        <span className="clip">{n.label}</span>
        {n.count !== undefined && <span className="dim">{n.count}</span>}
      </span>
    ),
    children: n.children?.map(nodeOf),
  }
}

/** The edge by which the tree is made wider; by mouse or by arrow keys. */
function Handle({ width, onWidth }: { width: number; onWidth: (w: number) => void }) {
  const t = useT()
  const set = (w: number) => {
    const next = Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, w))
    onWidth(next)
    remember('treeWidth', next)
  }
  const drag = (e: React.PointerEvent) => {
    const [from, start] = [e.clientX, width]
    const move = (m: PointerEvent) => set(start + m.clientX - from)
    const stop = () => {
      window.removeEventListener('pointermove', move)
      window.removeEventListener('pointerup', stop)
    }
    window.addEventListener('pointermove', move)
    window.addEventListener('pointerup', stop)
  }
  return (
    // biome-ignore lint/a11y/useSemanticElements: a separator that moves
    <div
      className="tree-handle"
      role="separator"
      tabIndex={0}
      aria-orientation="vertical"
      aria-label={t('app.inventory')}
      aria-valuenow={width}
      aria-valuemin={WIDTH_MIN}
      aria-valuemax={WIDTH_MAX}
      onPointerDown={drag}
      onKeyDown={(e) => {
        if (e.key === 'ArrowLeft') set(width - 16)
        if (e.key === 'ArrowRight') set(width + 16)
      }}
    />
  )
}
