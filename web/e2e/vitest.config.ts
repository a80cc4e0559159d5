import { defineConfig } from 'vitest/config'

/** Long: a host counts as silent after thirty seconds, and a machine may be slow. */
const STEP_MS = 240_000

export default defineConfig({
  test: {
    include: ['e2e/**/*.e2e.ts'],
    testTimeout: STEP_MS,
    hookTimeout: STEP_MS,
    fileParallelism: false,
    sequence: { concurrent: false },
    bail: 1,
  },
})
