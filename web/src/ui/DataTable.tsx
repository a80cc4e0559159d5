/**
 * A table of rows that come from the manager page by page. Only the rows in sight are in the document, so that a list is as
 * quick with 80,000 rows behind it as with ten. Sorting and filtering are the manager's.
 */
import { useVirtualizer } from '@tanstack/react-virtual'
import { Checkbox } from 'antd'
import { type KeyboardEvent, type MouseEvent, type ReactNode, useEffect, useRef, useState } from 'react'
import { useT } from '../i18n'
import type { Named } from './action'

export interface Column<R> {
  id: string
  header: string
  cell: (row: R) => ReactNode
  /** The field by which the manager sorts. */
  sort?: string
  /** Pixels; what is left goes to columns without. */
  width?: number
  numeric?: boolean
  /** Not shown until it is asked for. */
  optional?: boolean
  /** What stands in the CSV. */
  csv?: (row: R) => string | number | undefined | null
}

export interface Selection<R> {
  chosen: ReadonlyMap<string, R>
  change: (next: Map<string, R>) => void
}

interface Props<R extends Named> {
  label: string
  rows: R[]
  columns: Column<R>[]
  total?: number
  loading?: boolean
  sort?: string
  onSort?: (sort: string) => void
  selection?: Selection<R>
  onOpen?: (row: R) => void
  onMenu?: (row: R, at: { x: number; y: number }) => void
  onKey?: (key: string, row: R) => boolean
  onEnd?: () => void
  onSeen?: (ids: string[]) => void
  empty: ReactNode
}

const ROW_PX = 30
const OVERSCAN = 12
/** The least width of a column that takes what is left, and of the column for choosing. */
const FREE_COLUMN_PX = 130
const CHECK_PX = 34

export function DataTable<R extends Named>(p: Props<R>) {
  const t = useT()
  const box = useRef<HTMLDivElement>(null)
  const [active, setActive] = useState(-1)
  const virtual = useVirtualizer({
    count: p.rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: OVERSCAN,
  })
  const items = virtual.getVirtualItems()
  const [firstItem, lastItem] = [items[0], items[items.length - 1]]
  useEnd(p, lastItem?.index ?? 0)
  useSeen(p, firstItem?.index ?? 0, lastItem?.index ?? -1)
  const pick = usePick(p, setActive)
  const keys = useKeys(p, active, setActive, pick, (i) => virtual.scrollToIndex(i))

  const [before, after] = [firstItem?.start ?? 0, virtual.getTotalSize() - (lastItem?.end ?? 0)]
  const span = p.columns.length + (p.selection ? 1 : 0)
  // In a narrow window the table is moved sideways; its first column stays.
  const least = p.columns.reduce((sum, c) => sum + (c.width ?? FREE_COLUMN_PX), p.selection ? CHECK_PX : 0)
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys move in it
    // biome-ignore lint/a11y/noStaticElementInteractions: arrow keys move in it
    <div className="table-wrap" ref={box} tabIndex={0} onKeyDown={keys}>
      <table
        className="data"
        style={{ minWidth: least }}
        aria-label={p.label}
        aria-rowcount={p.total ?? p.rows.length}
        aria-busy={p.loading}
      >
        <Head p={p} />
        <tbody>
          {before > 0 && <Spacer height={before} span={span} />}
          {items.map(({ index, key }) => {
            const row = p.rows[index]
            return row && <RowView key={key} row={row} index={index} p={p} active={index === active} pick={pick} />
          })}
          {after > 0 && <Spacer height={after} span={span} />}
        </tbody>
      </table>
      {p.rows.length === 0 && <div className="empty">{p.loading ? t('ui.loading') : p.empty}</div>}
    </div>
  )
}

const classOf = (c: { numeric?: boolean }, first: boolean) =>
  [c.numeric && 'num', first && 'first'].filter(Boolean).join(' ') || undefined

function Spacer({ height, span }: { height: number; span: number }) {
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: an empty row takes no focus
    <tr className="spacer" aria-hidden="true" style={{ height }}>
      <td colSpan={span} />
    </tr>
  )
}

function Head<R extends Named>({ p }: { p: Props<R> }) {
  const t = useT()
  const chosen = p.selection?.chosen.size ?? 0
  const sorted = p.sort?.replace(/^-/, '')
  return (
    <thead>
      <tr>
        {p.selection && (
          <th className="check" scope="col">
            <Checkbox
              aria-label={t('ui.selectAll')}
              checked={chosen > 0 && chosen >= p.rows.length}
              indeterminate={chosen > 0 && chosen < p.rows.length}
              onChange={(e) => p.selection?.change(e.target.checked ? new Map(p.rows.map((r) => [r.id, r])) : new Map())}
            />
          </th>
        )}
        {p.columns.map((c, i) => {
          const descending = sorted === c.sort && p.sort?.startsWith('-')
          const order = c.sort && sorted === c.sort ? (descending ? 'descending' : 'ascending') : undefined
          return (
            <th key={c.id} scope="col" style={{ width: c.width }} className={classOf(c, i === 0)} aria-sort={order}>
              {c.sort && p.onSort ? (
                <button
                  type="button"
                  title={t('ui.sortBy', { column: c.header })}
                  onClick={() => p.onSort?.(order === 'ascending' ? `-${c.sort}` : (c.sort ?? ''))}
                >
                  <span className="clip">{c.header}</span>
                  <span aria-hidden="true">{order === 'ascending' ? '▲' : order === 'descending' ? '▼' : ''}</span>
                </button>
              ) : (
                c.header
              )}
            </th>
          )
        })}
      </tr>
    </thead>
  )
}

type Pick = (index: number, how: { shift: boolean; toggle: boolean }) => void

interface RowProps<R extends Named> {
  row: R
  index: number
  p: Props<R>
  active: boolean
  pick: Pick
}

function RowView<R extends Named>({ row, index, p, active, pick }: RowProps<R>) {
  const t = useT()
  const chosen = p.selection?.chosen.has(row.id) ?? false
  const menu = (e: MouseEvent) => {
    if (!p.onMenu) return
    e.preventDefault()
    p.onMenu(row, { x: e.clientX, y: e.clientY })
  }
  const click = (e: MouseEvent) => {
    // Links and buttons in a row do their own.
    if ((e.target as HTMLElement).closest('a,button,label,input')) return
    pick(index, { shift: e.shiftKey, toggle: e.ctrlKey || e.metaKey })
  }
  return (
    <tr
      className={`${chosen ? 'chosen' : ''}${active ? ' active' : ''}`}
      aria-rowindex={index + 1}
      aria-selected={p.selection ? chosen : undefined}
      onClick={click}
      onDoubleClick={(e) => !(e.target as HTMLElement).closest('a,button,label,input') && p.onOpen?.(row)}
      onContextMenu={menu}
    >
      {p.selection && (
        <td className="check">
          <Checkbox
            aria-label={t('ui.selectRow', { name: row.name ?? row.id })}
            checked={chosen}
            onClick={(e) => {
              e.preventDefault()
              pick(index, { shift: e.shiftKey, toggle: true })
            }}
          />
        </td>
      )}
      {p.columns.map((c, i) => (
        <td key={c.id} className={classOf(c, i === 0)}>
          {c.cell(row)}
        </td>
      ))}
    </tr>
  )
}

/** Asks for the next page before the end comes into sight. */
function useEnd<R extends Named>(p: Props<R>, last: number) {
  const { onEnd } = p
  const near = p.rows.length > 0 && last >= p.rows.length - 30
  useEffect(() => {
    if (near) onEnd?.()
  }, [near, onEnd])
}

/** Tells which rows are in sight. */
function useSeen<R extends Named>(p: Props<R>, first: number, last: number) {
  const latest = useRef(p)
  latest.current = p
  useEffect(() => {
    latest.current.onSeen?.(latest.current.rows.slice(first, last + 1).map((r) => r.id))
  }, [first, last])
}

/** Choosing: one, one more (Ctrl), up to here (Shift). */
function usePick<R extends Named>(p: Props<R>, setActive: (i: number) => void): Pick {
  const anchor = useRef(-1)
  return (index, { shift, toggle }) => {
    setActive(index)
    const row = p.rows[index]
    if (!p.selection || !row) return
    const next = toggle || shift ? new Map(p.selection.chosen) : new Map<string, R>()
    if (shift && anchor.current >= 0) {
      const [from, to] = [Math.min(anchor.current, index), Math.max(anchor.current, index)]
      for (const r of p.rows.slice(from, to + 1)) next.set(r.id, r)
    } else if (toggle && next.has(row.id)) {
      next.delete(row.id)
      anchor.current = index
    } else {
      next.set(row.id, row)
      anchor.current = index
    }
    p.selection.change(next)
  }
}

function useKeys<R extends Named>(
  p: Props<R>,
  active: number,
  setActive: (i: number) => void,
  pick: Pick,
  show: (i: number) => void,
) {
  return (e: KeyboardEvent) => {
    if ((e.target as HTMLElement).closest('input,textarea,[role=menu]') && e.key !== 'ContextMenu') return
    const row = p.rows[active]
    const move = (to: number) => {
      const next = Math.max(0, Math.min(p.rows.length - 1, to))
      setActive(next)
      show(next)
      e.preventDefault()
    }
    if (e.key === 'ArrowDown') return move(active + 1)
    if (e.key === 'ArrowUp') return move(active - 1)
    if (e.key === 'PageDown') return move(active + 15)
    if (e.key === 'PageUp') return move(active - 15)
    if (e.key === 'Home') return move(0)
    if (e.key === 'End') return move(p.rows.length - 1)
    if (!row || e.target !== e.currentTarget) return
    if (e.key === ' ') {
      e.preventDefault()
      pick(active, { shift: e.shiftKey, toggle: true })
    } else if (e.key === 'Enter') p.onOpen?.(row)
    else if (e.key === 'ContextMenu' || (e.key === 'F10' && e.shiftKey)) {
      e.preventDefault()
      const at = document.querySelector('tr.active')?.getBoundingClientRect()
      p.onMenu?.(row, { x: (at?.left ?? 0) + 60, y: at?.bottom ?? 0 })
    } else if (!e.ctrlKey && !e.metaKey && !e.altKey && p.onKey?.(e.key.toLowerCase(), row)) e.preventDefault()
  }
}
