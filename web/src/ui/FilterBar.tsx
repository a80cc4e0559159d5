/** The filter of a list, in the API's language: a field to type it, a way to put it together, and chips to take it apart. */
import { FilterOutlined, SearchOutlined } from '@ant-design/icons'
import { Button, Form, Input, Popover, Select } from 'antd'
import { useEffect, useState } from 'react'
import { all, chips, looksLikeFilter, term } from '../api/filter'
import { useT } from '../i18n'

/** A field that the manager filters by. */
export interface FilterField {
  name: string
  /** The words it can have, when they are few. */
  words?: readonly string[]
  kind?: 'text' | 'number' | 'bytes' | 'time' | 'bool'
}

interface Props {
  filter: string
  fields: FilterField[]
  onChange: (filter: string) => void
  example: string
}

export function FilterInput({ filter, fields, onChange, example }: Props) {
  const t = useT()
  const [typed, setTyped] = useState('')
  const byName = fields.some((f) => f.name === 'name')
  const add = () => {
    const text = typed.trim()
    if (!text) return
    onChange(all([filter, looksLikeFilter(text) || !byName ? text : term('name', '~', text)]))
    setTyped('')
  }
  return (
    <div className="row tight grow" style={{ maxWidth: 520 }}>
      <Input
        prefix={<SearchOutlined aria-hidden="true" />}
        placeholder={t('ui.filterPlaceholder', { example })}
        aria-label={t('ui.filterLabel')}
        value={typed}
        maxLength={2000}
        onChange={(e) => setTyped(e.target.value)}
        onPressEnter={add}
        onBlur={add}
        allowClear
        data-testid="filter"
      />
      <Builder filter={filter} fields={fields} onChange={onChange} />
    </div>
  )
}

export function FilterChips({ filter, onChange }: Pick<Props, 'filter' | 'onChange'>) {
  const t = useT()
  const parts = chips(filter)
  if (parts.length === 0) return null
  return (
    <div className="chips">
      {parts.map((part, i) => (
        <span className="chip" key={part}>
          <span className="clip">{part}</span>
          <button
            type="button"
            aria-label={t('ui.filterRemove', { term: part })}
            onClick={() => onChange(all(parts.filter((_, j) => j !== i)))}
          >
            ×
          </button>
        </span>
      ))}
      {parts.length > 1 && (
        <Button size="small" type="link" onClick={() => onChange('')}>
          {t('ui.filterClear')}
        </Button>
      )}
    </div>
  )
}

const OPERATORS: Record<NonNullable<FilterField['kind']>, string[]> = {
  text: ['=', '!=', '~'],
  number: ['=', '!=', '<', '<=', '>', '>='],
  bytes: ['>=', '<=', '>', '<', '='],
  time: ['>=', '<'],
  bool: ['='],
}

function Builder({ filter, fields, onChange }: Omit<Props, 'example'>) {
  const t = useT()
  const [open, setOpen] = useState(false)
  return (
    <Popover
      open={open}
      onOpenChange={setOpen}
      trigger="click"
      placement="bottomLeft"
      destroyOnHidden
      content={
        <BuilderForm
          fields={fields}
          onAdd={(part) => {
            onChange(all([filter, part]))
            setOpen(false)
          }}
        />
      }
    >
      <Button icon={<FilterOutlined />} aria-label={t('ui.filterAdd')} title={t('ui.filterAdd')} />
    </Popover>
  )
}

function BuilderForm({ fields, onAdd }: { fields: FilterField[]; onAdd: (part: string) => void }) {
  const t = useT()
  const [name, setName] = useState(fields[0]?.name ?? '')
  const field = fields.find((f) => f.name === name)
  const operators = field?.words ? ['=', '!='] : OPERATORS[field?.kind ?? 'text']
  const words = field?.kind === 'bool' ? ['true', 'false'] : field?.words
  const [op, setOp] = useState('=')
  const [value, setValue] = useState('')
  useEffect(() => {
    setOp(operators[0] ?? '=')
    setValue(words?.[0] ?? '')
  }, [name])
  return (
    <Form layout="vertical" style={{ width: 260 }} onFinish={() => value && onAdd(term(name, op, value))}>
      <Form.Item label={t('ui.filterField')} htmlFor="filter-field">
        <Select
          id="filter-field"
          value={name}
          onChange={setName}
          options={fields.map((f) => ({ value: f.name, label: f.name }))}
        />
      </Form.Item>
      <Form.Item label={t('ui.filterOperator')} htmlFor="filter-operator">
        <Select id="filter-operator" value={op} onChange={setOp} options={operators.map((o) => ({ value: o, label: o }))} />
      </Form.Item>
      <Form.Item label={t('ui.filterValue')} htmlFor="filter-value">
        {words ? (
          <Select id="filter-value" value={value} onChange={setValue} options={words.map((w) => ({ value: w, label: w }))} />
        ) : (
          <Input id="filter-value" value={value} onChange={(e) => setValue(e.target.value)} />
        )}
      </Form.Item>
      <Button type="primary" htmlType="submit" block disabled={!value}>
        {t('ui.filterAdd')}
      </Button>
    </Form>
  )
}
