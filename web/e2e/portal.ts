/** A real browser before a real manager. `tests/tests/portal.rs` starts the manager and says here where it is. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Browser, type BrowserContext, chromium, type Page, request } from 'playwright-core'

const needed = (name: string) => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: run these tests by \`cargo nextest run -p virga-tests -E 'test(portal)'\``)
  return value
}

/** Where the manager is, and the folder of the demo that it belongs to. */
export const URL_OF = needed('VIRGA_URL')
const STATE = needed('VIRGA_DEMO_STATE')
const FLEET = needed('VIRGA_FLEET')
export const PASSWORD = 'quiet rivers carry small boats'
export const oneTimePassword = () => readFileSync(`${STATE}/manager/admin-password`, 'utf8').trim()
export const token = () => readFileSync(`${STATE}/admin-token`, 'utf8').trim()

/** Time that anything may take; nothing is slept through. */
export const LONG = 60_000

/** Breaks or mends something in the fleet. */
export function fleet(...words: string[]) {
  execFileSync(FLEET, words, { env: { ...process.env, VIRGA_FLEET_STATE: `${STATE}/fleet` } })
}

/** Calls the API as the administrator, beside the browser. */
export async function call<A>(page: Page, method: string, path: string, body?: unknown): Promise<A> {
  const answer = await page.request.fetch(`${URL_OF}${path}`, {
    method,
    headers: { authorization: `Bearer ${token()}`, cookie: '' },
    data: body,
    ignoreHTTPSErrors: true,
  })
  if (!answer.ok()) throw new Error(`${method} ${path}: ${answer.status()} ${await answer.text()}`)
  return (await answer.json()) as A
}

/** Asks as somebody else: without the browser, its cookies and what it would keep of the answer. */
export async function outside(method: string, path: string, headers: Record<string, string>, data?: unknown) {
  const context = await request.newContext({ ignoreHTTPSErrors: true })
  try {
    const answer = await context.fetch(`${URL_OF}${path}`, { method, headers, data })
    return { status: answer.status(), body: (await answer.json().catch(() => undefined)) as unknown }
  } finally {
    await context.dispose()
  }
}

/** What a page complained about. An answer that is an error is logged by the browser itself, and is no fault of the page. */
export const complaints: string[] = []

export async function openBrowser(): Promise<{ browser: Browser; context: BrowserContext; page: Page }> {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  })
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 }, locale: 'en-GB' })
  context.setDefaultTimeout(LONG)
  const page = await context.newPage()
  listen(page)
  return { browser, context, page }
}

export function listen(page: Page) {
  page.on('console', (m) => {
    if (m.type() === 'error' && !m.text().startsWith('Failed to load resource')) complaints.push(m.text())
  })
  page.on('pageerror', (e) => complaints.push(e.stack ?? e.message))
}

/** Counts the clicks of a person from now on, over all pages that are opened. */
export async function countClicks(page: Page): Promise<() => Promise<number>> {
  let n = 0
  await page.exposeFunction('clicked', () => {
    n++
  })
  await page.addInitScript(() => {
    const told = window as unknown as { clicked: () => void }
    window.addEventListener('pointerdown', () => told.clicked(), true)
  })
  return async () => n
}

/** Iterations of a small loop that a quiet machine of today does in about a tenth of a second. */
const LOOP = 50_000_000
const LOOP_MS = 100

/** How many times slower than a quiet one this machine is at the moment; at least 1. Times of a person's path are held against it. */
export async function slowness(page: Page): Promise<number> {
  const took = await page.evaluate((loop) => {
    const began = performance.now()
    for (let round = 0; round < 5; round++) {
      let x = 1
      for (let i = 0; i < loop; i++) x = (x * 31 + i) | 0
      if (x === 0.5) return 0
    }
    return (performance.now() - began) / 5
  }, LOOP)
  return Math.max(1, took / LOOP_MS)
}

export async function fillSignIn(page: Page, password: string) {
  await page.getByLabel('User').fill('admin')
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

/** Waits until nothing on the page is being read, and nothing has been for a moment: one answer often asks the next. */
export async function settled(page: Page) {
  const reading = '.ant-skeleton, [aria-busy=true], .reading[data-busy=true]'
  await page.waitForFunction(
    (selector) => {
      const held = window as unknown as { quietSince?: number }
      if (document.querySelector(selector)) held.quietSince = undefined
      else held.quietSince ??= performance.now()
      return held.quietSince !== undefined && performance.now() - held.quietSince > 400
    },
    reading,
    { timeout: LONG, polling: 50 },
  )
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What stands in the way of people who use the page in another way: serious and critical findings of axe. */
export async function barriers(page: Page): Promise<string[]> {
  // Evaluated and not added as an element: the content policy lets no script in.
  await page.evaluate(axe)
  return page.evaluate(async () => {
    const run = (window as unknown as { axe: { run: (o: object) => Promise<{ violations: Violation[] }> } }).axe.run
    type Violation = { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }
    const { violations } = await run({ resultTypes: ['violations'] })
    const bad = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical')
    return bad.flatMap((v) =>
      v.nodes.slice(0, 3).map((n) => `${v.id}: ${n.html.slice(0, 200)} ${n.failureSummary.slice(0, 300)}`),
    )
  })
}
