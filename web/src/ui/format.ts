/** Numbers and times for eyes, in the language of now. Sizes are IEC: the API's bytes divided by 1,024. */
import { locale } from '../i18n'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** `4 GiB`, `1.5 TiB`. */
export function size(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return '–'
  let [value, unit] = [bytes, 0]
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0 }).format(value)} ${UNITS[unit]}`
}

/** `12.3 MiB/s`. */
export const rate = (bytes: number | null | undefined) => (bytes === null || bytes === undefined ? '–' : `${size(bytes)}/s`)

export const count = (n: number | null | undefined) =>
  n === null || n === undefined ? '–' : new Intl.NumberFormat(locale()).format(n)

/** A share of one as percent. */
export const percent = (share: number | null | undefined) =>
  share === null || share === undefined || !Number.isFinite(share)
    ? '–'
    : new Intl.NumberFormat(locale(), { style: 'percent', maximumFractionDigits: share < 0.1 ? 1 : 0 }).format(share)

/** Date and time to the second, in the browser's zone. */
export const dateTime = (at: string | null | undefined) =>
  at ? new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(at)) : '–'

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
]

/** `3 minutes ago`. */
export function ago(at: string | null | undefined, now = Date.now()): string {
  if (!at) return '–'
  const seconds = (new Date(at).getTime() - now) / 1000
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: 'auto', style: 'short' })
  for (const [unit, length] of STEPS) if (Math.abs(seconds) >= length) return format.format(Math.trunc(seconds / length), unit)
  return format.format(Math.trunc(seconds), 'second')
}

/** `3d 4h`, `2m 5s`. */
export function duration(fromIso: string | null | undefined, toIso?: string | null): string {
  if (!fromIso) return '–'
  const seconds = Math.max(0, Math.floor(((toIso ? new Date(toIso).getTime() : Date.now()) - new Date(fromIso).getTime()) / 1000))
  const [d, h, m, s] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ]
  if (d > 0) return `${d}d ${h}h`
  if (h > 0) return `${h}h ${m}m`
  return m > 0 ? `${m}m ${s}s` : `${s}s`
}

export const GiB = 1024 ** 3
export const MiB = 1024 ** 2
