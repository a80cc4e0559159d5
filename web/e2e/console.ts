/** The console of a real guest under QEMU: its screen is seen, its serial line is typed into, a picture is taken. */
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { complaints, fillSignIn, LONG, oneTimePassword, openBrowser, PASSWORD, URL_OF } from './portal'

let browser: Browser
let page: Page

beforeAll(async () => {
  ;({ browser, page } = await openBrowser())
  await page.goto(`${URL_OF}/vms/demo/console`)
  const once = oneTimePassword()
  await fillSignIn(page, once)
  await page.locator('#current').fill(once)
  await page.locator('#next').fill(PASSWORD)
  await page.locator('#again').fill(PASSWORD)
  await page.getByRole('button', { name: 'Change password' }).click()
})
afterAll(async () => {
  expect(complaints).toEqual([])
  await browser?.close()
})

const connected = () => page.locator('[data-testid=console][data-state=connected]').waitFor({ timeout: 2 * LONG })

test('the screen of the guest is drawn', async () => {
  await connected()
  const canvas = page.getByTestId('screen').locator('canvas')
  await canvas.waitFor()
  // Words on a dark ground: more than one colour.
  const colours = () =>
    canvas.evaluate((c: HTMLCanvasElement) => {
      const { data } = c.getContext('2d')?.getImageData(0, 0, c.width, c.height) ?? { data: [] }
      const found = new Set<number>()
      for (let i = 0; i + 2 < data.length; i += 4)
        found.add(((data[i] ?? 0) << 16) | ((data[i + 1] ?? 0) << 8) | (data[i + 2] ?? 0))
      return found.size
    })
  await expect.poll(colours, { timeout: 2 * LONG }).toBeGreaterThan(1)
})

test('the serial line answers what is typed', async () => {
  await page.getByText('Serial', { exact: true }).click()
  await connected()
  const terminal = page.getByTestId('terminal')
  await terminal.click()
  // The guest computes it, so an echo alone does not pass.
  await expect
    .poll(
      async () => {
        await page.keyboard.type('echo virga-$((6*7))\n')
        return terminal.getByText('virga-42').count()
      },
      { timeout: 2 * LONG, interval: 3_000 },
    )
    .toBeGreaterThan(0)
})
