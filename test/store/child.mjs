// A process to be killed or to compete with: opens a state directory with the built product and reports line by line.
// node child.mjs <puts | hold | spawn> <directory> <flock program | addon | -> [first number]
import { spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import { StateDirectory } from '../../dist/store/state-directory.js'

const [task, path, flockProgram, first = '0'] = process.argv.slice(2)
const say = (line) => writeSync(1, `${line}\n`)

try {
  const lock = flockProgram === 'addon' ? { flock: (await import('../../dist/daemon/native.js')).chooseNative({ enabled: true }).flock, flockProgram: undefined } : { flockProgram: flockProgram === '-' ? undefined : flockProgram }
  const state = await StateDirectory.open({ path, lock })
  say(`open ${state.lock.kind}`)
  if (task === 'spawn') {
    // A child that outlives this process must not keep the lock.
    const child = spawn('sleep', ['30'], { stdio: 'ignore', detached: true })
    say(`child ${child.pid}`)
  }
  if (task === 'puts') {
    let next = Number(first)
    const putOn = async () => {
      for (;;) {
        const i = next++
        await state.store.put(`k${String(i % 500).padStart(3, '0')}`, new TextEncoder().encode(`${i} `.repeat(20)))
        say(`ack ${i}`)
      }
    }
    await Promise.all([putOn(), putOn(), putOn(), putOn()])
  }
  setInterval(() => {}, 1000)
  process.on('SIGTERM', () => void state.close().then(() => process.exit(0)))
} catch (error) {
  say(`refused ${error.code} ${error.details?.pid ?? '-'} ${error.message}`)
}
