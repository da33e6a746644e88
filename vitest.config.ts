import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { defineConfig, type ViteUserConfig } from 'vitest/config'

/** Seconds on a quiet machine, of files that take more than ten: begun last, one of them would be waited for by all. Others count as little as they are. */
const SLOW: readonly (readonly [string, number])[] = [
  ['test/lab/netcheck', 106], ['test/lab/meeting', 95], ['test/lab/paths', 65], ['test/lab/port-mapping', 45], ['test/lab/roaming', 32], ['test/lab/tcp-meeting', 26],
  ['test/demo/ble', 45], ['test/e2e/stun', 40], ['test/e2e/lifecycle', 32], ['test/e2e/story', 30], ['test/bench/bench', 30], ['test/e2e/restart', 24], ['test/e2e/startup-failures', 22],
  ['test/world/world', 22], ['test/e2e/netcheck', 20], ['test/net/ble/hci/stack', 18], ['test/net/network-watch', 17], ['test/e2e/keys', 16], ['test/core/connection/paths/mtu', 14],
  ['test/e2e/bluetooth', 14], ['test/docs/cli', 13], ['test/e2e/config', 12], ['test/e2e/namespaces', 12], ['test/core/endpoint/crossing', 11],
]

/** The slowest first; what waits (lab) before what computes (pure). */
class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const seconds = ({ moduleId }: TestSpecification): number => SLOW.find(([name]) => moduleId.includes(`/${name}.`))?.[1] ?? 0
    const project = ({ project: { name } }: TestSpecification): number => ['lab', 'system', 'pure'].indexOf(name)
    return (await super.sort(files)).sort((a, b) => project(a) - project(b) || seconds(b) - seconds(a))
  }
}

/** State machines and plain functions: files that hold nothing of the process, so that one worker runs many of them. That halves their CPU: modules are loaded, and compiled, once. */
const pure = ['test/core/**/*.test.ts', 'test/world/**/*.test.ts', 'test/sim/**/*.test.ts', 'test/cli/**/*.test.ts']
/** Network namespaces in which daemons mostly wait for one another. */
const lab = ['test/lab/**/*.test.ts']

const every: ViteUserConfig['test'] = {
  // Process-level tests start real daemons: the setup builds dist/ once when it is stale.
  globalSetup: ['test/support/global-setup.ts'],
  // Long, for machines that others use too: a test that hangs still ends, and none measures speed by it.
  testTimeout: 120_000,
  hookTimeout: 120_000,
  // In CI only: tests with real daemons, networks and clocks share machines that stall for seconds. A test that needed it is shown with `retry x1`.
  retry: process.env['CI'] === 'true' ? 1 : 0,
  pool: 'forks',
  // Pairs of homes in the lab: each is two daemons and five network namespaces.
  maxConcurrency: 3,
}

const config: ViteUserConfig = defineConfig({
  test: {
    // One more than the cores of CI: there is nearly always one that waits. Here and not in `every`, where `--maxWorkers` would not overrule it.
    maxWorkers: 3,
    sequence: { sequencer: SlowestFirst },
    projects: [
      { test: { ...every, name: 'lab', include: lab } },
      { test: { ...every, name: 'system', include: ['test/**/*.test.ts'], exclude: [...lab, ...pure] } },
      { test: { ...every, name: 'pure', include: pure, isolate: false } },
    ],
  },
})

export default config
