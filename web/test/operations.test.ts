/** Every operation of the API can be reached from the portal, or it is said here why it need not be. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

/** Operations that no page calls, each with the reason. An operation that a page does call must not stand here. */
const NOT_CALLED: Record<string, string> = {
  ping: 'for programs that look whether a manager lives; the portal has its event stream',
  schedule_view: 'the list of schedules shows all there is of each',
  vm_snapshot_view: 'the tree of snapshots comes whole from vm_snapshot_list',
}

/** Operations whose path is opened otherwise than by `api.…`: where the code does it. */
const OPENED: Record<string, { file: string; text: string }> = {
  docs: { file: 'app/TopBar.tsx', text: 'href="/docs"' },
  openapi: { file: 'system/SystemPage.tsx', text: '/v1/openapi.json' },
  metrics: { file: 'system/SystemPage.tsx', text: '/metrics' },
  audit_export: { file: 'audit/AuditListPage.tsx', text: '/v1/audit/export' },
  event_stream: { file: 'api/live.ts', text: '/v1/events/stream' },
  image_upload: { file: 'image/api.ts', text: "urlOf('/v1/images/{image}/content'" },
  vm_export_content: { file: 'vm/ExportNotice.tsx', text: "urlOf('/v1/vms/{vm}/export/content'" },
  vm_screenshot: { file: 'vm/SummaryTab.tsx', text: '/screenshot`' },
  console_connect: { file: 'vm/console/connect.ts', text: 'wss://' },
}

const SRC = new URL('../src/', import.meta.url).pathname
type Document = { paths: Record<string, Record<string, { operationId?: string }>> }
const document = JSON.parse(readFileSync(new URL('../../openapi/v1.json', import.meta.url), 'utf8')) as Document

function sources(folder = SRC): { path: string; text: string }[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return sources(path)
    return /\.tsx?$/.test(name) && !name.endsWith('.gen.ts')
      ? [{ path: path.slice(SRC.length), text: readFileSync(path, 'utf8') }]
      : []
  })
}

const files = sources()
const code = files.map((f) => f.text).join('\n')
const quotedPattern = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
const called = (method: string, path: string) =>
  new RegExp(`\\bapi\\s*\\.\\s*${method}\\(\\s*['"\`]${quotedPattern(path)}['"\`]`).test(code)
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).flatMap(([method, o]) => (o.operationId ? [{ name: o.operationId, method, path }] : [])),
)

describe('the operations of the API', () => {
  it('can all be reached from the portal', () => {
    const missing = operations
      .filter((o) => !(o.name in NOT_CALLED) && !(o.name in OPENED) && !called(o.method, o.path))
      .map((o) => `${o.name}: ${o.method.toUpperCase()} ${o.path} has no place in the portal`)
    expect(missing).toEqual([])
  })

  it('that are opened otherwise, are opened where it is said', () => {
    for (const [name, { file, text }] of Object.entries(OPENED)) {
      expect(files.find((f) => f.path === file)?.text, `${name} in ${file}`).toContain(text)
    }
  })

  it('that stand on a list are there, and are not called', () => {
    const known = new Map(operations.map((o) => [o.name, o]))
    for (const name of [...Object.keys(NOT_CALLED), ...Object.keys(OPENED)]) expect([...known.keys()]).toContain(name)
    const needless = Object.keys(NOT_CALLED).filter((n) => {
      const o = known.get(n)
      return o && called(o.method, o.path)
    })
    expect(needless).toEqual([])
  })
})
