// The commands behind `npm start`, `npm test`, `npm run test:world`, `npm run test:lab`, `npm run demo`, `npm run bench` and `npm run postern`: each first brings the
// checkout up to date, then becomes the program asked for (same terminal, same signals, same exit code).
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root, setUp } from './setup.mjs'

const [task = 'start', ...given] = process.argv.slice(2)
let args = given
const programs = {
  start: [join(root, 'dist/daemon/main.js')],
  cli: [join(root, 'dist/cli/main.js')],
  test: [join(root, 'node_modules/vitest/vitest.mjs'), 'run'],
  world: [join(root, 'node_modules/vitest/vitest.mjs'), 'run', 'test/world'],
  lab: [join(root, 'node_modules/vitest/vitest.mjs'), 'run', 'test/lab'],
  demo: [join(root, 'dist-demo/main.js')],
  bench: [join(root, 'bench/main.mjs')],
  'ble-kernel': [join(root, 'test/ble-kernel/main.mjs')],
}
const program = programs[task]
if (program === undefined) {
  console.error(`run.mjs: no task "${task}". Tasks: ${Object.keys(programs).join(', ')}`)
  process.exit(64)
}
if (task === 'world') args = worldArguments(given)
if (task === 'lab') args = labArguments(given)
setUp(task === 'demo' ? ['product', 'demo'] : ['product'])
const child = spawn(process.execPath, [...program, ...args], { stdio: 'inherit', cwd: process.cwd() })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Ctrl-C went to every process of the terminal already; posternd takes a second one for impatience.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  })
}
child.on('exit', (code, signal) => process.exit(signal === null ? code ?? 1 : 1))

/** `--write` keeps what was measured: as JSON and as a picture in docs/lab, and as tables in docs/nat.md. */
function labArguments(words) {
  if (words.includes('--write')) process.env.POSTERN_LAB_WRITE = join(root, 'docs/lab')
  return words.filter((word) => word !== '--write')
}

/** `--seeds <n>` runs the worlds of seeds 1 … n, `--seed <n>` tells the story of one; what else is given goes to vitest. */
function worldArguments(words) {
  const rest = []
  for (let i = 0; i < words.length; i++) {
    const name = { '--seeds': 'POSTERN_WORLD_SEEDS', '--seed': 'POSTERN_WORLD_SEED' }[words[i]]
    if (name === undefined) {
      rest.push(words[i])
      continue
    }
    const count = words[++i]
    if (!/^[1-9][0-9]{0,8}$/.test(count ?? '')) {
      console.error(`run.mjs: ${words[i - 1]} wants a number, as in: npm run test:world -- --seeds 500`)
      process.exit(64)
    }
    process.env[name] = count
  }
  return rest
}
