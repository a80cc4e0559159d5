import { defineConfig } from 'vitest/config'

/** The console of a real guest; `tests/tests/portal.rs` runs it. */
export default defineConfig({
  test: { include: ['e2e/console.ts'], testTimeout: 240_000, hookTimeout: 240_000, fileParallelism: false, bail: 1 },
})
