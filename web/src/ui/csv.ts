/** Rows as a CSV file (RFC 4180), read page by page. */
import type { Fetch, Row } from '../api/list'
import type { Column } from './DataTable'

/** Rows asked for at once: the most that the API gives. */
const PAGE_MAX = 1000

/** A cell; what a spreadsheet would take for a formula is kept from being one. */
export function csvCell(value: string | number | null | undefined): string {
  let text = value === null || value === undefined ? '' : String(value)
  if (typeof value === 'string' && /^[=+\-@\t\r]/.test(text)) text = `'${text}`
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text
}

export async function exportCsv<R extends Row>(
  name: string,
  columns: Column<R>[],
  list: { fetch: Fetch<R>; filter: string; sort?: string },
  onRows: (n: number) => void,
): Promise<void> {
  const shown = columns.filter((c) => c.csv)
  const lines = [shown.map((c) => csvCell(c.header)).join(',')]
  let next: string | undefined
  do {
    const page = await list.fetch({ filter: list.filter, sort: list.sort, limit: PAGE_MAX, page_token: next })
    for (const row of page.items) lines.push(shown.map((c) => csvCell(c.csv?.(row))).join(','))
    onRows(lines.length - 1)
    next = page.next_page ?? undefined
  } while (next)
  // The mark makes spreadsheets read it as UTF-8.
  download(`${name}.csv`, new Blob([`\ufeff${lines.join('\r\n')}\r\n`], { type: 'text/csv;charset=utf-8' }))
}

export function download(name: string, content: Blob) {
  const url = URL.createObjectURL(content)
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}
