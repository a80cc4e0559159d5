import { defineConfig } from 'vitest/config'

/** All pages in both languages and both themes; `scripts/portal-screens.sh` runs it. */
export default defineConfig({
  test: {
    include: ['e2e/screens.ts'],
    testTimeout: 900_000,
    hookTimeout: 240_000,
    fileParallelism: false,
    sequence: { concurrent: false },
    bail: 1,
  },
})
