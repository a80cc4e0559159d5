/** Rates of a host or a guest over the last minutes, and as they go on. */
import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense, useMemo } from 'react'
import type { Sample, Schemas } from '../api/schema'
import { useT } from '../i18n'
import { percent, rate, size } from './format'
import { Panel } from './Panel'
import { ProblemAlert } from './ProblemAlert'

const Chart = lazy(() => import('./Chart'))
/** Rates are taken every five seconds. */
const EVERY_MS = 5_000

interface Props {
  kind: string
  id: string
  read: (signal: AbortSignal) => Promise<Schemas['Stats']>
  memory?: number
}

export function Monitor({ kind, id, read, memory }: Props) {
  const t = useT()
  const stats = useQuery({ queryKey: [kind, 'stats', id], queryFn: ({ signal }) => read(signal), refetchInterval: EVERY_MS })
  const samples = stats.data?.samples ?? []
  const times = useMemo(() => samples.map((s) => new Date(s.at).getTime() / 1000), [samples])
  const of = (label: string, pick: (s: Sample) => number) => ({ label, values: samples.map(pick) })
  const charts = [
    { title: t('ui.cpu'), series: [of(t('ui.cpu'), (s) => s.cpu)], format: percent, max: 1 },
    { title: t('ui.memory'), series: [of(t('ui.memory'), (s) => s.memory_bytes)], format: size, max: memory },
    {
      title: t('ui.disk'),
      series: [of(t('ui.read'), (s) => s.disk_read_bytes), of(t('ui.written'), (s) => s.disk_write_bytes)],
      format: rate,
    },
    {
      title: t('ui.network'),
      series: [of(t('ui.received'), (s) => s.net_in_bytes), of(t('ui.sent'), (s) => s.net_out_bytes)],
      format: rate,
    },
  ]
  return (
    <div className="stack">
      <ProblemAlert error={stats.error} />
      <div className="grid" style={{ gridTemplateColumns: 'repeat(auto-fit, minmax(420px, 1fr))' }}>
        {charts.map((c) => (
          <Panel key={c.title} title={c.title}>
            {samples.length === 0 ? (
              <div className="empty">{t('ui.noData')}</div>
            ) : (
              <Suspense fallback={<div style={{ height: 170 }} />}>
                <Chart label={c.title} times={times} series={c.series} format={c.format} max={c.max} />
              </Suspense>
            )}
          </Panel>
        ))}
      </div>
    </div>
  )
}
