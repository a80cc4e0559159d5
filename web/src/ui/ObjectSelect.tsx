/** Chooses an object by a part of its name; only those that fit are asked for. */
import { useQuery } from '@tanstack/react-query'
import { Select } from 'antd'
import { useDeferredValue, useState } from 'react'
import type { Named } from './action'

interface Props {
  kind: string
  find: (text: string, signal: AbortSignal) => Promise<Named[]>
  /** Whether the value is the name or the id. */
  by: 'name' | 'id'
  id?: string
  value?: string
  onChange?: (value: string | undefined) => void
  allowClear?: boolean
  placeholder?: string
  /** One that is chosen already, so that its name is shown and not its id. */
  known?: Named
  label?: string
}

export function ObjectSelect({ kind, find, by, id, value, onChange, allowClear, placeholder, known, label }: Props) {
  const [typed, setTyped] = useState('')
  const text = useDeferredValue(typed.trim())
  const [open, setOpen] = useState(false)
  const found = useQuery({
    queryKey: ['choose', kind, text],
    queryFn: ({ signal }) => find(text, signal),
    enabled: open,
    staleTime: 5_000,
  })
  const objects = found.data ?? (known ? [known] : [])
  return (
    <Select
      id={id}
      aria-label={label}
      showSearch={{ filterOption: false, onSearch: setTyped }}
      value={value}
      onChange={onChange}
      onOpenChange={setOpen}
      loading={found.isFetching}
      allowClear={allowClear}
      placeholder={placeholder}
      options={objects.map((o) => ({ value: by === 'id' ? o.id : (o.name ?? o.id), label: o.name ?? o.id }))}
    />
  )
}
