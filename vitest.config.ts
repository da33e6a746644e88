import { defineConfig, type ViteUserConfig } from 'vitest/config'

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Process-level tests start real daemons: the setup builds dist/ once when it is stale.
    globalSetup: ['test/support/global-setup.ts'],
    // Long, for machines that others use too: a test that hangs still ends, and none measures speed by it.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // In CI only: tests with real daemons, networks and clocks share machines that stall for seconds. A test that needed it is shown with `retry x1`.
    retry: process.env['CI'] === 'true' ? 1 : 0,
    pool: 'forks',
    maxWorkers: 2,
    // Pairs of homes in the lab: each is two daemons and five network namespaces.
    maxConcurrency: 3,
  },
})

export default config
