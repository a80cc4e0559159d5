/** The column that says when something was made; every list has it. */
import type { Column } from './DataTable'
import { dateTime } from './format'

export function createdColumn<R extends { created_at: string }>(
  header: string,
  more?: Pick<Column<R>, 'width' | 'optional'>,
): Column<R> {
  return {
    id: 'created',
    header,
    width: 180,
    sort: 'created_at',
    cell: (r) => dateTime(r.created_at),
    csv: (r) => r.created_at,
    ...more,
  }
}
