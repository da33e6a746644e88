import { defineConfig, type ViteUserConfig } from 'vitest/config'

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Process-level tests start real daemons: the setup builds dist/ once when it is stale.
    globalSetup: ['test/support/global-setup.ts'],
    // Long, for machines that others use too: a test that hangs still ends, and none measures speed by it.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
  },
})

export default config
