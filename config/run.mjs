// The commands behind `npm start`, `npm test`, `npm run demo`, `npm run bench` and `npm run postern`: each first brings the
// checkout up to date, then becomes the program asked for (same terminal, same signals, same exit code).
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root, setUp } from './setup.mjs'

const [task = 'start', ...args] = process.argv.slice(2)
const programs = {
  start: [join(root, 'dist/daemon/main.js')],
  cli: [join(root, 'dist/cli/main.js')],
  test: [join(root, 'node_modules/vitest/vitest.mjs'), 'run'],
  demo: [join(root, 'test/demo/demo.mjs')],
  bench: [join(root, 'bench/main.mjs')],
}
const program = programs[task]
if (program === undefined) {
  console.error(`run.mjs: no task "${task}". Tasks: ${Object.keys(programs).join(', ')}`)
  process.exit(64)
}
setUp()
const child = spawn(process.execPath, [...program, ...args], { stdio: 'inherit', cwd: process.cwd() })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => process.exit(signal === null ? code ?? 1 : 1))
