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
  demo: [join(root, 'dist-demo/main.js')],
  bench: [join(root, 'bench/main.mjs')],
}
const program = programs[task]
if (program === undefined) {
  console.error(`run.mjs: no task "${task}". Tasks: ${Object.keys(programs).join(', ')}`)
  process.exit(64)
}
setUp(task === 'demo' ? ['product', 'demo'] : ['product'])
const child = spawn(process.execPath, [...program, ...args], { stdio: 'inherit', cwd: process.cwd() })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Ctrl-C went to every process of the terminal already; posternd takes a second one for impatience.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  })
}
child.on('exit', (code, signal) => process.exit(signal === null ? code ?? 1 : 1))
