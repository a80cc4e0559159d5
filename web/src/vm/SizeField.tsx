/** A number of GiB or MiB, kept as bytes. */
import { InputNumber, Select, Space } from 'antd'
import { useState } from 'react'
import { GiB, MiB } from '../ui/format'

interface Props {
  value?: number | null
  onChange?: (bytes: number | null) => void
  id?: string
  min?: number
  label: string
  disabled?: boolean
}

const UNITS = { MiB, GiB, TiB: 1024 * GiB } as const
type Unit = keyof typeof UNITS

export function SizeField({ value, onChange, id, min, label, disabled }: Props) {
  const [unit, setUnit] = useState<Unit>(value && value % GiB !== 0 ? 'MiB' : 'GiB')
  const shown = value === null || value === undefined ? null : value / UNITS[unit]
  return (
    <Space.Compact>
      <InputNumber
        id={id}
        aria-label={label}
        value={shown}
        min={min === undefined ? undefined : min / UNITS[unit]}
        disabled={disabled}
        style={{ width: 110 }}
        onChange={(v) => onChange?.(v === null ? null : Math.round(Number(v) * UNITS[unit]))}
      />
      <Select
        aria-label={`${label}: B`}
        value={unit}
        disabled={disabled}
        onChange={setUnit}
        options={Object.keys(UNITS).map((u) => ({ value: u, label: u }))}
        style={{ width: 76 }}
      />
    </Space.Compact>
  )
}
