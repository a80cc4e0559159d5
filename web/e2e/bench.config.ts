import { defineConfig } from 'vitest/config'

/** How quick the portal is; `cargo xtask bench portal` runs it. */
export default defineConfig({
  test: { include: ['e2e/bench.ts'], testTimeout: 600_000, hookTimeout: 240_000, fileParallelism: false, bail: 1 },
})
