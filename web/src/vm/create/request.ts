/** The create page's choices, as the API's request, as a call and as a command. */
import type { Schemas } from '../../api/schema'
import { GiB, MiB } from '../../ui/format'

export interface Choice {
  name?: string
  image?: string
  cpus: number
  memory_bytes: number
  network?: string
  start: boolean
  size_bytes?: number | null
  iso?: string
  host?: string
  firmware: Schemas['Firmware']
  cpu_mode: string
  ssh_key?: string
  host_name?: string
  user_data?: string
  description?: string
}

export const FLAVOURS = [
  { key: 'small', cpus: 1, memory_bytes: GiB },
  { key: 'medium', cpus: 2, memory_bytes: 4 * GiB },
  { key: 'large', cpus: 4, memory_bytes: 8 * GiB },
  { key: 'xlarge', cpus: 8, memory_bytes: 16 * GiB },
] as const

/** What `qemu64`, the default of the API, is written as here: "nothing chosen". */
export const CPU_DEFAULT = 'default'

function cloudInit(c: Choice): Schemas['CloudInit'] | undefined {
  if (c.user_data) return { user_data: c.user_data }
  const key = c.ssh_key?.trim()
  if (!key && !c.host_name) return undefined
  return { ...(key && { ssh_authorized_keys: key.split('\n').filter(Boolean) }), ...(c.host_name && { host_name: c.host_name }) }
}

function disks(c: Choice): Schemas['DiskCreate'][] {
  if (!c.image && !c.size_bytes) return []
  return [{ ...(c.image && { image: c.image }), ...(c.size_bytes && { size_bytes: c.size_bytes }) }]
}

/** The request; only what was chosen stands in it. */
export function requestOf(c: Choice): Schemas['VmCreate'] {
  const init = cloudInit(c)
  return {
    name: c.name ?? '',
    cpus: c.cpus,
    memory_bytes: c.memory_bytes,
    disks: disks(c),
    nics: c.network ? [{ network: c.network }] : [],
    start: c.start,
    ...(c.iso && { cdroms: [c.iso] }),
    ...(c.host && { host: c.host }),
    ...(c.firmware !== 'bios' && { firmware: c.firmware }),
    ...(c.cpu_mode !== CPU_DEFAULT && { cpu_mode: { mode: c.cpu_mode } as Schemas['CpuMode'] }),
    ...(c.description && { description: c.description }),
    ...(init && { cloud_init: init }),
  }
}

const shell = (text: string) => (/^[A-Za-z0-9._:/=,+-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`)
const sized = (bytes: number) => (bytes % GiB === 0 ? `${bytes / GiB}GiB` : `${Math.round(bytes / MiB)}MiB`)

export function asCall(c: Choice, origin: string): string {
  const body = JSON.stringify(requestOf(c), null, 2)
  return `curl --cacert ca.pem -X POST ${origin}/v1/vms \\\n  -H "Authorization: Bearer $(cat token)" -H 'Content-Type: application/json' \\\n  -d ${shell(body)}`
}

export function asCommand(c: Choice): string {
  const words: (string | false | undefined)[] = [
    `virga vm create ${shell(c.name || 'NAME')}`,
    c.image && `--image ${shell(c.size_bytes ? `${c.image}:${sized(c.size_bytes)}` : c.image)}`,
    !c.image && !!c.size_bytes && `--disk ${sized(c.size_bytes)}`,
    `--cpus ${c.cpus}`,
    `--memory ${sized(c.memory_bytes)}`,
    c.network && `--network ${shell(c.network)}`,
    c.iso && `--iso ${shell(c.iso)}`,
    c.host && `--host ${shell(c.host)}`,
    c.firmware !== 'bios' && `--firmware ${c.firmware}`,
    c.cpu_mode !== CPU_DEFAULT && `--cpu-mode ${c.cpu_mode}`,
    c.ssh_key && !c.user_data && '--ssh-key-file KEY.pub',
    c.host_name && !c.user_data && `--host-name ${shell(c.host_name)}`,
    c.user_data && '--user-data USER-DATA.yaml',
    c.description && `--description ${shell(c.description)}`,
    c.start && '--start',
  ]
  return words.filter(Boolean).join(' \\\n  ')
}
