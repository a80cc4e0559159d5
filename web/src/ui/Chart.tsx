/** A chart of rates over the last minutes. */
import { useEffect, useRef } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { locale, useT } from '../i18n'
import { useDark } from './theme'

export interface Series {
  label: string
  values: (number | null)[]
}

interface Props {
  /** Seconds since 1970, growing. */
  times: number[]
  series: Series[]
  format: (value: number) => string
  /** The top of the scale, when it has one. */
  max?: number
  label: string
}

const COLOURS = { light: ['#0b6e85', '#b45309'], dark: ['#5cc8df', '#f0b35a'] }
const HEIGHT = 170

export default function Chart({ times, series, format, max, label }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const dark = useDark()
  const t = useT()
  const time = t('ui.time')
  const shape = series.map((s) => s.label).join('|')
  const latest = useRef({ times, series, format, max })
  latest.current = { times, series, format, max }
  useEffect(() => {
    if (!box.current) return
    const element = box.current
    const p = new uPlot(options(element.clientWidth, latest.current, dark, time), data(latest.current), element)
    plot.current = p
    const watch = new ResizeObserver(() => p.setSize({ width: element.clientWidth, height: HEIGHT }))
    watch.observe(element)
    return () => {
      watch.disconnect()
      p.destroy()
      plot.current = undefined
    }
  }, [shape, dark, time])
  useEffect(() => plot.current?.setData(data({ times, series })), [times, series])
  return <div ref={box} role="img" aria-label={label} style={{ minHeight: HEIGHT }} />
}

function data({ times, series }: Pick<Props, 'times' | 'series'>): uPlot.AlignedData {
  return [times, ...series.map((s) => s.values)] as uPlot.AlignedData
}

function options(width: number, p: Omit<Props, 'label'>, dark: boolean, time: string): uPlot.Options {
  const clock = new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', second: '2-digit' })
  const at = (seconds: number) => clock.format(new Date(seconds * 1000))
  const [text, line] = dark ? ['#a4afb8', '#2a343c'] : ['#56636f', '#e6ebef']
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line } }
  const colours = COLOURS[dark ? 'dark' : 'light']
  return {
    width,
    height: HEIGHT,
    cursor: { y: false },
    scales: { y: { range: (_u, _min, top) => [0, p.max ?? Math.max(top * 1.15, 1e-9)] } },
    axes: [
      { ...axis, space: 90, values: (_u, ticks) => ticks.map(at) },
      { ...axis, size: 76, values: (_u, ticks) => ticks.map(p.format) },
    ],
    series: [
      { label: time, value: (_u: uPlot, v: number | null) => (v === null || v === undefined ? '–' : at(v)) },
      ...p.series.map((s, i) => ({
        label: s.label,
        stroke: colours[i % colours.length],
        fill: `${colours[i % colours.length]}22`,
        width: 1.5,
        points: { show: false },
        value: (_u: uPlot, v: number | null) => (v === null || v === undefined ? '–' : p.format(v)),
      })),
    ],
  }
}
