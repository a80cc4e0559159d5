/** The tools of a list: columns, saved views, CSV, reading again. */
import { DownloadOutlined, ReloadOutlined, StarOutlined, TableOutlined } from '@ant-design/icons'
import { Button, Checkbox, Form, Input, Popover, Tooltip } from 'antd'
import { useState } from 'react'
import { useT } from '../i18n'
import type { Column } from './DataTable'
import { remember, remembered } from './urlState'

export function ColumnTool<R>({
  columns,
  shown,
  onChange,
}: {
  columns: Column<R>[]
  shown: string[]
  onChange: (ids: string[]) => void
}) {
  const t = useT()
  const content = (
    <div className="stack" style={{ gap: 4 }}>
      {columns.map((c, i) => (
        <Checkbox
          key={c.id}
          disabled={i === 0}
          checked={shown.includes(c.id)}
          onChange={(e) =>
            onChange(columns.filter((x) => (x.id === c.id ? e.target.checked : shown.includes(x.id))).map((x) => x.id))
          }
        >
          {c.header}
        </Checkbox>
      ))}
    </div>
  )
  return (
    <Popover trigger="click" placement="bottomRight" content={content}>
      <Button icon={<TableOutlined />} aria-label={t('ui.columns')} title={t('ui.columns')} />
    </Popover>
  )
}

export interface View {
  name: string
  filter?: string
  sort?: string
}

export function ViewTool({ list, now, onChoose }: { list: string; now: Omit<View, 'name'>; onChoose: (view: View) => void }) {
  const t = useT()
  const key = `views.${list}`
  const [views, setViews] = useState<View[]>(() => remembered(key, []))
  const [name, setName] = useState('')
  const [open, setOpen] = useState(false)
  const keep = (next: View[]) => {
    setViews(next)
    remember(key, next)
  }
  const save = () => {
    if (!name.trim()) return
    keep([...views.filter((v) => v.name !== name.trim()), { name: name.trim(), ...now }])
    setName('')
  }
  const content = (
    <div className="stack" style={{ gap: 6, width: 260 }}>
      {views.length === 0 && <span className="dim">{t('ui.viewsNone')}</span>}
      {views.map((v) => (
        <div className="row" key={v.name}>
          <button
            type="button"
            className="linkish grow clip"
            title={v.filter}
            onClick={() => {
              onChoose(v)
              setOpen(false)
            }}
          >
            {v.name}
          </button>
          <Button
            size="small"
            type="text"
            aria-label={t('ui.viewDelete', { name: v.name })}
            onClick={() => keep(views.filter((x) => x.name !== v.name))}
          >
            ×
          </Button>
        </div>
      ))}
      <Form onFinish={save} className="row tight">
        <Input
          size="small"
          aria-label={t('ui.viewName')}
          placeholder={t('ui.viewName')}
          value={name}
          maxLength={60}
          onChange={(e) => setName(e.target.value)}
        />
        <Button size="small" htmlType="submit" disabled={!name.trim()}>
          {t('ui.viewSave')}
        </Button>
      </Form>
    </div>
  )
  return (
    <Popover trigger="click" placement="bottomRight" content={content} open={open} onOpenChange={setOpen}>
      <Button icon={<StarOutlined />} aria-label={t('ui.views')} title={t('ui.views')} />
    </Popover>
  )
}

export function CsvTool({ onExport }: { onExport: (onRows: (n: number) => void) => Promise<void> }) {
  const t = useT()
  const [rows, setRows] = useState<number>()
  const run = async () => {
    setRows(0)
    try {
      await onExport(setRows)
    } finally {
      setRows(undefined)
    }
  }
  return (
    <Tooltip title={rows === undefined ? t('ui.exportCsv') : t('ui.exporting', { count: rows })}>
      <Button
        icon={<DownloadOutlined />}
        aria-label={t('ui.exportCsv')}
        loading={rows !== undefined}
        onClick={() => void run()}
      />
    </Tooltip>
  )
}

export function ReloadTool({ busy, onReload }: { busy: boolean; onReload: () => void }) {
  const t = useT()
  return <Button icon={<ReloadOutlined spin={busy} />} aria-label={t('ui.refresh')} title={t('ui.refresh')} onClick={onReload} />
}
