/**
 * How quick the list of VMs is with very many behind it. Times are taken in the page, from what the browser itself says
 * (`PerformanceEventTiming`, `requestAnimationFrame`), so that the driver's own time is in none of them.
 */
import { writeFileSync } from 'node:fs'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fillSignIn, LONG, oneTimePassword, openBrowser, PASSWORD, settled, URL_OF } from './portal'

const VMS = Number(process.env.VIRGA_BENCH_VMS ?? 80_000)
const OUT = process.env.VIRGA_BENCH_OUT ?? ''
/** Repetitions of each interaction. */
const ROUNDS = 20
/** How far one turn of the wheel goes, and how often it is turned. */
const WHEEL_PX = 900
const TURNS = 60

const figures: Record<string, number> = {}
let browser: Browser
let page: Page

const part = (values: number[], share: number) => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
const row = (n: number) => page.locator(`tbody tr[aria-rowindex="${n}"]`)

/** Lets the page note how long each key and click took until the next picture. */
const watch = () =>
  page.evaluate(() => {
    const held = window as unknown as { took: number[] }
    held.took = []
    // The least that a browser tells of is 16 ms; what it does not tell of was quicker.
    new PerformanceObserver((list) => {
      for (const e of list.getEntries() as (PerformanceEventTiming & { interactionId?: number })[])
        if (e.interactionId) held.took.push(e.duration)
    }).observe({ type: 'event', durationThreshold: 16, buffered: false } as PerformanceObserverInit)
  })
const taken = () => page.evaluate(() => (window as unknown as { took: number[] }).took)

/** Time between a click or key and the first moment at which the first row's name is (or is not any more) this one. */
async function until(act: () => Promise<void>, how: 'is' | 'is not', name: string): Promise<number> {
  await page.evaluate(() => {
    const held = window as unknown as { began?: number }
    held.began = undefined
    const begin = () => {
      held.began ??= performance.now()
    }
    for (const kind of ['keydown', 'pointerdown']) window.addEventListener(kind, begin, { capture: true, once: true })
  })
  // Looked at by the page itself, at each picture.
  const waits = page.evaluate(
    ([same, given]) =>
      new Promise<number>((done) => {
        const held = window as unknown as { began?: number }
        const look = () => {
          const cell = document.querySelector('tbody tr[aria-rowindex="1"] td:nth-child(2)')
          const fits = !!cell && (cell.textContent === given) === (same === 'is')
          if (held.began !== undefined && fits) return done(performance.now() - held.began)
          requestAnimationFrame(look)
        }
        look()
      }),
    [how, name],
  )
  await act()
  return waits
}

beforeAll(async () => {
  ;({ browser, page } = await openBrowser())
  await page.goto(`${URL_OF}/`)
  const once = oneTimePassword()
  await fillSignIn(page, once)
  await page.locator('#current').fill(once)
  await page.locator('#next').fill(PASSWORD)
  await page.locator('#again').fill(PASSWORD)
  const began = Date.now()
  await page.getByRole('button', { name: 'Change password' }).click()
  await page.getByText('hosts up').waitFor()
  figures['sign-in'] = Date.now() - began
})
afterAll(async () => {
  if (OUT) writeFileSync(OUT, JSON.stringify(figures))
  await browser?.close()
})

test('the first rows', async () => {
  const took: number[] = []
  for (let n = 0; n < 5; n++) {
    await page.goto(`${URL_OF}/vms`)
    await row(1).waitFor()
    took.push(await page.evaluate(() => performance.now()))
  }
  figures['list-first-rows'] = part(took, 0.5)
  await page.getByTestId('list-foot').getByText(new Intl.NumberFormat('en-GB').format(VMS)).waitFor()
  await settled(page)
})

test('keys, clicks and right clicks', async () => {
  await watch()
  for (let n = 1; n <= ROUNDS; n++) {
    await row(n).locator('td').nth(2).click()
    await page.keyboard.press('ArrowDown')
    await row(n)
      .locator('.ant-checkbox')
      .click({ modifiers: ['Shift'] })
    await page.keyboard.press('PageDown')
    await page.keyboard.press('Home')
    await row(2).locator('td').nth(2).click({ button: 'right' })
    await page.getByRole('menuitem').first().waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('menuitem').first().waitFor({ state: 'hidden' })
  }
  const took = await taken()
  // What is below the threshold is not told; that some are told shows that they are watched.
  expect(took.length).toBeGreaterThan(0)
  figures['list-interaction-p95'] = part(took, 0.95)
})

test('scrolling through many pages', async () => {
  await page.evaluate(() => {
    const held = window as unknown as { frames: number[]; watching: boolean }
    held.frames = []
    held.watching = true
    let last = performance.now()
    const frame = (now: number) => {
      held.frames.push(now - last)
      last = now
      if (held.watching) requestAnimationFrame(frame)
    }
    requestAnimationFrame(frame)
  })
  await page.mouse.move(700, 450)
  for (let n = 0; n < TURNS; n++) await page.mouse.wheel(0, WHEEL_PX)
  const frames = await page.evaluate(() => {
    const held = window as unknown as { frames: number[]; watching: boolean }
    held.watching = false
    return held.frames
  })
  figures['list-scroll-p95'] = part(frames, 0.95)
  await expect
    .poll(async () => Number(await page.locator('tbody tr[aria-rowindex]').first().getAttribute('aria-rowindex')), {
      timeout: LONG,
    })
    .toBeGreaterThan(150)
  figures['rows-in-document'] = await page.locator('tbody tr[aria-rowindex]').count()
})

test('sorting', async () => {
  await page.goto(`${URL_OF}/vms`)
  await row(1).waitFor()
  await settled(page)
  const took: number[] = []
  for (let n = 0; n < 10; n++) {
    const before = (await row(1).locator('td').nth(1).textContent()) ?? ''
    const click = () => page.getByRole('button', { name: 'Name', exact: false }).first().click()
    took.push(await until(click, 'is not', before))
  }
  figures['list-sorted'] = part(took, 0.5)
})

test('finding by a part of a name', async () => {
  const took: number[] = []
  for (let n = 0; n < 10; n++) {
    await page.goto(`${URL_OF}/vms`)
    await row(1).waitFor()
    await settled(page)
    const name = `sim-${String(Math.floor((VMS / 11) * (n + 1))).padStart(5, '0')}`
    await page.getByTestId('filter').fill(name)
    took.push(await until(() => page.keyboard.press('Enter'), 'is', name))
  }
  figures['list-found'] = part(took, 0.5)
})
