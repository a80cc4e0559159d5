/** Pictures of all pages, in both languages and both themes, into `docs/portal`. Its files are not compared by any test. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Browser, BrowserContext, CDPSession, Page } from 'playwright-core'
import { afterAll, beforeAll, test } from 'vitest'
import { PAGES } from './pages'
import { call, fillSignIn, fleet, LONG, oneTimePassword, openBrowser, PASSWORD, settled, token, URL_OF } from './portal'

const FOLDER = process.env.VIRGA_SCREENS ?? join(import.meta.dirname, '../../docs/portal')
/** Only pages whose name has this in it. */
const ONLY = process.env.VIRGA_SCREENS_ONLY ?? ''
/** WebP: small, and shown everywhere that shows the README. */
const QUALITY = 55

let browser: Browser
let context: BrowserContext
let page: Page
let cdp: CDPSession

const nameOf = (path: string) => path.slice(1).replace(/[^A-Za-z0-9]+/g, '-') || 'overview'

async function shoot(folder: string, name: string) {
  // Notices that come and go, and what the mouse points at, are not part of a page.
  await page.mouse.move(640, 790)
  const { data } = await cdp.send('Page.captureScreenshot', { format: 'webp', quality: QUALITY })
  writeFileSync(join(FOLDER, folder, `${name}.webp`), Buffer.from(data, 'base64'))
}

async function open(path: string) {
  await page.goto(`${URL_OF}${path}`)
  await page.locator('main h1').waitFor()
  await settled(page)
}

/** What there is to see: an image, a VM with snapshots, and something that needs attention. */
async function furnish() {
  const has = await call<{ items: unknown[] }>(page, 'GET', '/v1/vms?filter=name = web-1')
  if (has.items.length > 0) return
  await call(page, 'POST', '/v1/images', { name: 'tiny' })
  await page.request.fetch(`${URL_OF}/v1/images/tiny/content`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token()}`, cookie: '' },
    data: Buffer.alloc(1024 * 1024, 7),
    ignoreHTTPSErrors: true,
  })
  const done = async (accepted: { task?: { id: string } | null }) =>
    accepted.task && (await call(page, 'GET', `/v1/tasks/${accepted.task.id}?wait=60`))
  const body = {
    name: 'web-1',
    cpus: 2,
    memory_bytes: 2 * 1024 ** 3,
    disks: [{ image: 'tiny' }],
    nics: [{ network: 'nat' }],
    labels: { app: 'web' },
    description: 'The shop’s front',
    start: true,
  }
  await done(await call(page, 'POST', '/v1/vms', body))
  for (const name of ['before-upgrade', 'after-upgrade']) {
    await done(await call(page, 'POST', '/v1/vms/web-1/snapshots', { name }))
  }
  fleet('break', 'network', 'rack-01-host-07', 'cut')
}

beforeAll(async () => {
  ;({ browser, context, page } = await openBrowser())
  cdp = await context.newCDPSession(page)
  const secret = process.env.VIRGA_SCREENS_SIGNED_IN ? PASSWORD : oneTimePassword()
  await page.goto(`${URL_OF}/`)
  await fillSignIn(page, secret)
  if (!process.env.VIRGA_SCREENS_SIGNED_IN) {
    await page.locator('#current').fill(secret)
    await page.locator('#next').fill(PASSWORD)
    await page.locator('#again').fill(PASSWORD)
    await page.getByRole('button', { name: 'Change password' }).click()
  }
  await page.locator('.shell').waitFor()
  await furnish()
})
afterAll(async () => {
  await browser?.close()
})

const VARIANTS = ['en', 'zh'].flatMap((language) => ['light', 'dark'].map((theme) => ({ language, theme })))
const wanted = process.env.VIRGA_SCREENS_VARIANT

test.each(VARIANTS.filter((v) => !wanted || `${v.language}-${v.theme}` === wanted))(
  'pages are pictured ($language, $theme)',
  async ({ language, theme }) => {
    const folder = `${language}-${theme}`
    mkdirSync(join(FOLDER, folder), { recursive: true })
    await page.evaluate(
      ([l, c]) => {
        localStorage.setItem('virga.language', l ?? '')
        localStorage.setItem('virga.theme', c ?? '')
        localStorage.setItem('virga.drawer', 'false')
      },
      [language, theme],
    )
    for (const path of PAGES.filter((p) => nameOf(p).includes(ONLY))) {
      await open(path)
      await shoot(folder, nameOf(path))
    }
    if (ONLY) return
    await open('/vms/web-1/console')
    await page.locator('[data-testid=console][data-state=connected]').waitFor({ timeout: LONG })
    await page.getByTestId('screen').locator('canvas').waitFor()
    await shoot(folder, 'vms-web-1-console')
    await open('/vms')
    await page.keyboard.press('Control+k')
    await page.getByRole('combobox').fill('web')
    await page.getByRole('option').first().waitFor()
    await shoot(folder, 'search')
  },
)
