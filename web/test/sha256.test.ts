import { expect, test } from 'vitest'
import { sha256 } from '../src/image/sha256'

const digest = (bytes: Uint8Array<ArrayBuffer> | string) =>
  sha256(new Blob([bytes]), () => undefined, new AbortController().signal)

test('the digest is that of the standard', async () => {
  expect(await digest('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  expect(await digest('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  for (const length of [55, 56, 63, 64, 65, 1000, (4 << 20) - 1, 4 << 20, (4 << 20) + 57]) {
    const bytes = new Uint8Array(length).map((_, i) => (i * 7) & 255)
    const own = await crypto.subtle.digest('SHA-256', bytes)
    expect(await digest(bytes), String(length)).toBe(
      Array.from(new Uint8Array(own), (b) => b.toString(16).padStart(2, '0')).join(''),
    )
  }
})
