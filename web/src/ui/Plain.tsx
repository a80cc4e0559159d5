/** A small table of what is there already: no paging, no sorting. */
import type { ReactNode } from 'react'

interface Props<R> {
  label: string
  rows: readonly R[]
  id: (row: R) => string
  columns: [string, (row: R) => ReactNode][]
}

export function Plain<R>({ label, rows, id, columns }: Props<R>) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keys
    <div className="table-wrap plain" tabIndex={0}>
      <table className="data" aria-label={label}>
        <thead>
          <tr>
            {columns.map(([header]) => (
              <th key={header} scope="col">
                {header || <span className="hidden">{label}</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map(([header, cell]) => (
                <td key={header}>{cell(row)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
