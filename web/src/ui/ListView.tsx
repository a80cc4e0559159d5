/**
 * A list of objects: filter, chips, views, columns, CSV, choosing, bulk actions, right-click menu, live rows.
 * What is filtered and sorted stands in the address.
 */
import { App, Button, Dropdown } from 'antd'
import { type ReactNode, useCallback, useMemo, useRef, useState } from 'react'
import { all } from '../api/filter'
import { type ListSource, useList } from '../api/list'
import { useT } from '../i18n'
import { type Action, type Named, useActionItems, useStartAction, useWhyNot } from './action'
import { ContextMenu } from './ContextMenu'
import { exportCsv } from './csv'
import { type Column, DataTable } from './DataTable'
import { FilterChips, type FilterField, FilterInput } from './FilterBar'
import { count } from './format'
import { useGo } from './Link'
import { ColumnTool, CsvTool, ReloadTool, ViewTool } from './ListTools'
import { ProblemAlert } from './ProblemAlert'
import { remember, remembered, useUrlState } from './urlState'
import { useSeenRefresh } from './useSeenRefresh'

/** Objects for which one action can be asked at once; the API's own limit for a batch. */
const CHOSEN_MAX = 1000

interface Props<R extends Named> {
  /** The name under which columns and views are remembered. */
  id: string
  label: string
  source: ListSource<R>
  columns: Column<R>[]
  fields: FilterField[]
  example: string
  actions?: Action<R>[]
  defaultSort?: string
  open?: (row: R) => string
  /** Stands before the tools, e.g. the button that makes one. */
  primary?: ReactNode
  empty?: ReactNode
}

export function ListView<R extends Named>(p: Props<R>) {
  const t = useT()
  const go = useGo()
  const [search, setSearch] = useUrlState()
  const [filter, sort] = [search.filter ?? '', search.sort ?? p.defaultSort]
  const list = useList<R>({ ...p.source, filter, sort })
  const [shown, setShown] = useColumns(p.id, p.columns)
  const [chosen, setChosen] = useState<ReadonlyMap<string, R>>(new Map())
  const [menu, setMenu] = useState<{ x: number; y: number }>()
  const onSeen = useSeenRefresh(p.source.ageing ? list.refresh : undefined)
  const chosenNow = useFreshChosen(chosen, list.rows)
  const shortcuts = useShortcuts(p.actions)
  const { hasNextPage, isFetching, fetchNextPage } = list
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage()
  }, [hasNextPage, isFetching, fetchNextPage])
  const setFilter = (next: string) => {
    setChosen(new Map())
    setSearch({ filter: next })
  }
  const openMenu = (row: R, at: { x: number; y: number }) => {
    if (!p.actions?.length) return
    if (!chosen.has(row.id)) setChosen(new Map([[row.id, row]]))
    setMenu(at)
  }
  const csv = (onRows: (n: number) => void) =>
    exportCsv(p.id, shown, { fetch: p.source.fetch, filter: all([p.source.within, filter]), sort }, onRows)
  return (
    <>
      <div className="toolbar">
        {p.primary}
        <FilterInput filter={filter} fields={p.fields} onChange={setFilter} example={p.example} />
        <span className="grow" />
        <ViewTool
          list={p.id}
          now={{ filter, sort: search.sort }}
          onChoose={(v) => setSearch({ filter: v.filter, sort: v.sort })}
        />
        <ColumnTool columns={p.columns} shown={shown.map((c) => c.id)} onChange={setShown} />
        <CsvTool onExport={csv} />
        <ReloadTool busy={isFetching} onReload={() => void list.reload()} />
      </div>
      <FilterChips filter={filter} onChange={setFilter} />
      {chosenNow.size > 0 && p.actions && (
        <BulkBar p={p} chosen={chosenNow} setChosen={setChosen} total={list.total} rows={list.rows} filter={filter} />
      )}
      <ProblemAlert error={list.error} onRetry={() => void list.refetch()} />
      <DataTable
        label={p.label}
        rows={list.rows}
        columns={shown}
        total={list.total}
        loading={list.isLoading}
        sort={sort}
        onSort={(next) => setSearch({ sort: next })}
        selection={p.actions ? { chosen: chosenNow, change: setChosen } : undefined}
        onOpen={p.open && ((row) => p.open && go(p.open(row)))}
        onMenu={openMenu}
        onKey={shortcuts}
        onEnd={onEnd}
        onSeen={onSeen}
        empty={filter ? t('ui.emptyFiltered') : (p.empty ?? t('ui.empty'))}
      />
      <div className="list-foot" data-testid="list-foot">
        {list.total === undefined
          ? t('ui.rowsLoaded', { shown: count(list.rows.length) })
          : t('ui.rows', { shown: count(list.rows.length), total: count(list.total) })}
      </div>
      {menu && p.actions && (
        <ContextMenu actions={p.actions} objects={[...chosenNow.values()]} at={menu} close={() => setMenu(undefined)} />
      )}
    </>
  )
}

function useColumns<R>(id: string, columns: Column<R>[]): [Column<R>[], (ids: string[]) => void] {
  const [ids, setIds] = useState<string[] | undefined>(() => remembered<string[] | undefined>(`columns.${id}`, undefined))
  const shown = useMemo(() => columns.filter((c, i) => i === 0 || (ids ? ids.includes(c.id) : !c.optional)), [columns, ids])
  return [
    shown,
    (next) => {
      setIds(next)
      remember(`columns.${id}`, next)
    },
  ]
}

/** The chosen objects as the list shows them now. */
function useFreshChosen<R extends Named>(chosen: ReadonlyMap<string, R>, rows: R[]): ReadonlyMap<string, R> {
  return useMemo(() => {
    if (chosen.size === 0) return chosen
    const next = new Map(chosen)
    for (const r of rows) if (next.has(r.id)) next.set(r.id, r)
    return next
  }, [chosen, rows])
}

function useShortcuts<R extends Named>(actions?: Action<R>[]) {
  const whyNot = useWhyNot()
  const start = useStartAction()
  return (key: string, row: R) => {
    const action = actions?.find((a) => a.shortcut === key)
    if (!action || whyNot(action, [row])) return false
    start(action, [row])
    return true
  }
}

interface BulkProps<R extends Named> {
  p: Props<R>
  chosen: ReadonlyMap<string, R>
  setChosen: (next: ReadonlyMap<string, R>) => void
  total?: number
  rows: R[]
  filter: string
}

function BulkBar<R extends Named>({ p, chosen, setChosen, total, rows, filter }: BulkProps<R>) {
  const t = useT()
  const { message } = App.useApp()
  const items = useActionItems()
  const busy = useRef(false)
  const selectMatching = async () => {
    if (busy.current) return
    busy.current = true
    try {
      const page = await p.source.fetch({ filter: all([p.source.within, filter]), limit: CHOSEN_MAX })
      setChosen(new Map(page.items.map((r) => [r.id, r])))
      if (page.next_page) void message.info(t('ui.selectTooMany', { count: count(CHOSEN_MAX) }))
    } finally {
      busy.current = false
    }
  }
  return (
    <div className="toolbar" role="toolbar" aria-label={t('ui.actions')}>
      <b data-testid="chosen">{t('ui.selected', { count: count(chosen.size) })}</b>
      <Dropdown trigger={['click']} menu={{ items: items(p.actions ?? [], [...chosen.values()]) }}>
        <Button type="primary" data-testid="bulk-actions">
          {t('ui.actions')}
        </Button>
      </Dropdown>
      {total !== undefined && total > chosen.size && chosen.size >= Math.min(rows.length, 2) && (
        <Button type="link" onClick={() => void selectMatching()}>
          {t('ui.selectMatching', { count: count(total) })}
        </Button>
      )}
      <Button type="link" onClick={() => setChosen(new Map())}>
        {t('ui.selectNone')}
      </Button>
    </div>
  )
}
