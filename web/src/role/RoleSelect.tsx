/** Chooses a role; each says what it is for. */
import { Select } from 'antd'
import type { Schemas } from '../api/schema'
import { useRoles } from './api'

interface Props {
  value?: Schemas['Role']
  onChange?: (role: Schemas['Role']) => void
  allowClear?: boolean
  id?: string
}

export function RoleSelect({ id, value, onChange, allowClear }: Props) {
  const roles = useRoles().data ?? []
  return (
    <Select
      id={id}
      value={value}
      onChange={onChange}
      allowClear={allowClear}
      options={roles.map((r) => ({ value: r.role, label: r.role, description: r.description }))}
      optionRender={(o) => (
        <div>
          <div>{o.label}</div>
          <div className="dim" style={{ whiteSpace: 'normal', fontSize: 12 }}>
            {o.data.description}
          </div>
        </div>
      )}
    />
  )
}
