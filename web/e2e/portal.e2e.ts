/** The portal as a person meets it, from the first sign-in on. The steps build on each other. */
import { request } from 'node:https'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  barriers,
  call,
  complaints,
  fillSignIn,
  fleet,
  LONG,
  listen,
  oneTimePassword,
  openBrowser,
  PASSWORD,
  URL_OF,
} from './portal'

let browser: Browser
let context: BrowserContext
let page: Page

beforeAll(async () => {
  ;({ browser, context, page } = await openBrowser())
})
afterAll(async () => {
  expect(complaints).toEqual([])
  await browser?.close()
})

const go = (path: string) => page.goto(`${URL_OF}${path}`)
const state = (word: string) => page.locator('.page-head .state', { hasText: word })

test('a wrong password is refused with what to do, and the first sign-in asks for a new one', async () => {
  await go('/vms?filter=state = running')
  await fillSignIn(page, 'not the password')
  await page.getByText('The name or the password is wrong').waitFor()
  await page.getByText('wrong passwords an account is locked').waitFor()
  expect(await barriers(page)).toEqual([])
  const once = oneTimePassword()
  await fillSignIn(page, once)
  await page.locator('#current').fill(once)
  await page.locator('#next').fill(PASSWORD)
  await page.locator('#again').fill(PASSWORD)
  await page.getByRole('button', { name: 'Change password' }).click()
  await page.locator('.shell').waitFor()
  // Where one wanted to go.
  expect(new URL(page.url()).pathname).toBe('/vms')
  await page.getByText('state = running').waitFor()
})

test('an image is uploaded, and a VM from it runs and shows its console within twelve clicks', async () => {
  await go('/images/new')
  const content = Buffer.alloc(1024 * 1024, 7)
  await page
    .locator('input[type=file]')
    .setInputFiles({ name: 'tiny.raw', mimeType: 'application/octet-stream', buffer: content })
  await page.getByRole('button', { name: 'Upload', exact: true }).click()
  await page.getByText('tiny is ready.').waitFor()
  await page.getByRole('link', { name: 'Create a VM from it' }).click()
  await page.getByLabel('Name', { exact: true }).fill('web-1')
  await page.getByTestId('plan').getByText('place on host').waitFor()
  await page.getByTestId('create').click()
  await state('running').waitFor()
  await page.getByRole('link', { name: 'Console', exact: true }).click()
  await page.locator('[data-testid=console][data-state=connected]').waitFor()
  await page.getByTestId('screen').locator('canvas').waitFor()
  await page.getByText('Serial', { exact: true }).click()
  await page.locator('[data-testid=console][data-state=connected]').waitFor()
  await page.getByTestId('terminal').getByText('login:').first().waitFor()
  await page.keyboard.type('hello portal')
  await page.getByTestId('terminal').getByText('hello portal').first().waitFor()
})

test('a change says what applies now, and is done', async () => {
  await go('/vms/web-1/configure')
  await page.locator('#cpus').fill('3')
  await page.getByTestId('plan').getByText('now').waitFor()
  await page.getByRole('button', { name: 'Apply' }).click()
  await expect
    .poll(async () => (await call<{ spec: { cpu: { count: number } } }>(page, 'GET', '/v1/vms/web-1')).spec.cpu.count, {
      timeout: LONG,
    })
    .toBe(3)
})

test('a snapshot is taken and reverted to', async () => {
  await go('/vms/web-1/snapshots')
  await page.getByRole('button', { name: 'Take a snapshot' }).click()
  await page.getByRole('dialog').getByLabel('Name', { exact: true }).fill('before')
  await page.getByRole('dialog').getByRole('button', { name: 'Take a snapshot' }).click()
  const line = page.getByTestId('snapshot-before')
  await line.locator('.state.good').waitFor()
  await go('/vms/web-1')
  await page.getByTestId('actions').click()
  await page.getByRole('menuitem', { name: /^Cut the power/ }).click()
  await page.getByRole('dialog').getByText('what the guest has not written is lost').waitFor()
  await page.getByRole('dialog').getByRole('button', { name: 'Cut the power' }).click()
  await state('stopped').waitFor()
  await page.getByRole('link', { name: 'Snapshots' }).click()
  await line.getByRole('button').click()
  await page.getByRole('menuitem', { name: 'Revert to it' }).click()
  await page.getByRole('dialog').getByText('Start it afterwards').click()
  await page.getByRole('dialog').getByRole('button', { name: 'Revert to it' }).click()
  await state('running').waitFor()
})

test('many VMs are shut down at once, with a preview, and the list shows it without a reload', async () => {
  await go('/vms?filter=state = running and name ~ sim-0000')
  await page.locator('tbody .ant-checkbox').first().click()
  await page
    .locator('tbody .ant-checkbox')
    .nth(2)
    .click({ modifiers: ['Shift'] })
  await page.getByText('3 selected').waitFor()
  await page.getByTestId('bulk-actions').click()
  await page.getByRole('menuitem', { name: /^Shut down/ }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText('3 of 3 will be done').waitFor()
  const names = await dialog.locator('tbody td:first-child').allTextContents()
  await dialog.getByRole('button', { name: 'Shut down' }).click()
  await expect.poll(() => dialog.getByText('done', { exact: true }).count(), { timeout: LONG }).toBe(3)
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  for (const name of names) await page.getByRole('link', { name, exact: true }).waitFor({ state: 'detached' })
  await page.getByTestId('task-drawer').getByText('succeeded').first().waitFor()
})

test('a right click offers the same actions, and says why one is not possible', async () => {
  await go('/vms?filter=state = stopped')
  await page.locator('tbody tr[aria-rowindex="1"] td').nth(2).click({ button: 'right' })
  await page.getByRole('menuitem', { name: /Pause/ }).getByText('It does not run.').waitFor()
  await page.keyboard.press('Escape')
})

test('everything is found by Ctrl-K', async () => {
  await go('/')
  await page.getByText('hosts up').waitFor()
  await page.keyboard.press('Control+k')
  await page.getByRole('combobox').fill('web-1')
  await page.getByRole('option', { name: 'web-1' }).waitFor()
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/vms\/[0-9a-f-]{36}$/)
})

test('a host that is cut off is shown as silent, and comes back', async () => {
  const host = 'rack-01-host-07'
  await go('/')
  fleet('break', 'network', host, 'cut')
  await page
    .getByTestId('attention-silent')
    .getByText(host)
    .waitFor({ timeout: 2 * LONG })
  await page.getByTestId('attention-silent').getByRole('link', { name: host }).click()
  await page.getByText('Silence is never read as death').waitFor()
  fleet('break', 'network', host, 'heal')
  await state('up').waitFor()
})

test('a lost connection is shown, and heals', async () => {
  await go('/')
  await page.locator('[data-testid=live][data-state=live]').waitFor()
  await context.setOffline(true)
  await page.locator('[data-testid=live][data-state=lost]').waitFor()
  await context.setOffline(false)
  await page.locator('[data-testid=live][data-state=live]').waitFor()
})

const PAGES = [
  '/',
  '/vms',
  '/vms/new',
  '/vms/web-1',
  '/vms/web-1/configure',
  '/vms/web-1/disks',
  '/vms/web-1/nics',
  '/vms/web-1/snapshots',
  '/vms/web-1/explain',
  '/vms/web-1/monitor',
  '/vms/web-1/permissions',
  '/vms/web-1/tasks',
  '/hosts',
  '/hosts/new',
  '/hosts/rack-01-host-01',
  '/images',
  '/images/new',
  '/images/tiny',
  '/networks',
  '/networks/nat',
  '/data-stores',
  '/tasks',
  '/events',
  '/users',
  '/users/admin',
  '/roles',
  '/roles?show=roles',
  '/tokens',
  '/audit',
  '/system',
  '/account',
]

test.each(['light', 'dark'] as const)('no page stands in anybody’s way (%s)', async (colours) => {
  await page.emulateMedia({ colorScheme: colours })
  const found: string[] = []
  for (const path of PAGES) {
    await go(path)
    await page.locator('main h1').waitFor()
    await expect.poll(() => page.locator('.ant-skeleton, [aria-busy=true]').count(), { timeout: LONG }).toBe(0)
    found.push(...(await barriers(page)).map((b) => `${path} ${b}`))
  }
  await page.emulateMedia({ colorScheme: 'light' })
  expect(found).toEqual([])
})

test('the whole portal changes its language', async () => {
  await go('/vms/web-1')
  await page.getByTestId('language').click()
  await page.getByRole('menuitem', { name: '中文' }).click()
  await page.getByRole('heading', { name: '硬件' }).waitFor()
  expect(await page.locator('html').getAttribute('lang')).toBe('zh-CN')
  for (const path of PAGES) {
    await go(path)
    await page.locator('main h1').waitFor()
    const words = await page.locator('.rail, .tabs, main h1, main th').allTextContents()
    expect(words.join(' '), path).not.toMatch(/\b(Overview|Hosts|Images|Networks|Summary|Created|State)\b/)
  }
  await page.getByTestId('language').click()
  await page.getByRole('menuitem', { name: 'English' }).click()
  await page.getByRole('link', { name: 'Overview' }).waitFor()
})

test('what is hostile is only text', async () => {
  const evil = '<img src=x onerror="window.pwned=1">'
  await call(page, 'PATCH', '/v1/vms/web-1', { description: evil, labels: { note: evil.slice(0, 60) } })
  await go('/vms/web-1')
  await page.getByText(evil, { exact: true }).waitFor()
  await go(`/vms?filter=${encodeURIComponent(`name ~ "${evil.replace(/"/g, '\\"')}"`)}`)
  await page.getByText('Nothing matches this filter.').waitFor()
  await go(`/vms/${encodeURIComponent(evil)}`)
  await page.getByRole('heading', { name: 'Not here' }).waitFor()
  await go('/vms/new')
  await page.getByLabel('Name', { exact: true }).fill('x'.repeat(10_000))
  await page.getByTestId('create').click()
  await page.locator('.ant-form-item-explain-error').first().waitFor()
  expect(await page.evaluate(() => (window as unknown as { pwned?: number }).pwned)).toBeUndefined()
})

test('a page of another site opens no console, and the cookie alone changes nothing', async () => {
  const { path } = await call<{ path: string }>(page, 'POST', '/v1/vms/web-1/consoles', { kind: 'vnc' })
  expect(await upgrade(path, 'https://evil.example')).toBe(403)
  const status = await page.evaluate(
    async () =>
      (await fetch('/v1/vms/web-1', { method: 'PATCH', body: '{}', headers: { 'content-type': 'application/json' } })).status,
  )
  expect(status).toBe(403)
  const answer = await page.request.get(`${URL_OF}/`, { headers: { accept: 'text/html' } })
  expect(answer.headers()['content-security-policy']).toContain("script-src 'self';")
  expect(answer.headers()['x-frame-options']).toBe('DENY')
})

/** The status with which a WebSocket from a page at `origin` is answered. */
function upgrade(path: string, origin: string): Promise<number> {
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    origin,
  }
  return new Promise((resolve, reject) => {
    const asked = request(`${URL_OF}${path}`, { headers, rejectUnauthorized: false }, (answer) => resolve(answer.statusCode ?? 0))
    asked.on('upgrade', (answer, socket) => {
      socket.destroy()
      resolve(answer.statusCode ?? 0)
    })
    asked.on('error', reject)
    asked.end()
  })
}

test('deleting asks for the name, and signing out ends it all', async () => {
  await go('/vms/web-1')
  await page.getByTestId('actions').click()
  await page.getByRole('menuitem', { name: 'Delete' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText('for good').waitFor()
  expect(await dialog.getByRole('button', { name: 'Delete' }).isDisabled()).toBe(true)
  await dialog.getByText('Also when it runs').click()
  await dialog.getByLabel('Type web-1 to confirm').fill('web-1')
  await dialog.getByRole('button', { name: 'Delete' }).click()
  await page.getByRole('heading', { name: 'Not here' }).waitFor()
  const other = await context.newPage()
  listen(other)
  await other.goto(`${URL_OF}/hosts`)
  await other.getByTestId('user-menu').click()
  await other.getByRole('menuitem', { name: 'Sign out' }).click()
  await other.getByRole('button', { name: 'Sign in' }).waitFor()
  await page.reload()
  await page.getByRole('button', { name: 'Sign in' }).waitFor()
})
