import { spawn } from 'node:child_process'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { BackendOptions } from './backend.ts'
import type { Child, ProcessSystem } from './process.ts'

/** Heap of a child, MiB: a package that leaks is ended by it, and started again. */
const HEAP_MAX = 96
/** What is kept of what a child writes to stderr: its last words. */
const STDERR_MAX = 2048

export const processSystem: ProcessSystem = {
  spawn: (options) => spawnChild(options),
  now: () => performance.now(),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds).unref(),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout | undefined),
  random: () => Math.random(),
}

function spawnChild(options: BackendOptions): Child {
  const main = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './child-main.ts' : './child-main.js', import.meta.url))
  // What packages print goes nowhere; descriptor 3 is the pipe, both ways.
  const child = spawn(process.execPath, [`--max-old-space-size=${HEAP_MAX}`, main, JSON.stringify(options)], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'], env: childEnvironment() })
  // An error that nobody hears ends the daemon: without descriptors there is one, and no pipes. One that could not be killed is no end of it.
  child.on('error', () => undefined)
  if ((child.stderr ?? undefined) === undefined) throw new Error('no descriptors are left')
  let words = ''
  child.stderr!.on('data', (chunk: Buffer) => (words = (words + chunk.toString()).slice(-STDERR_MAX)))
  return {
    pipe: child.stdio[3] as Duplex,
    onExit: (handler) => {
      if (child.pid === undefined) child.once('error', (error) => handler(`could not be started: ${error.message}`))
      child.once('close', (code, signal) => handler(describe(code, signal, words)))
    },
    kill: () => void child.kill('SIGKILL'),
  }
}

/** noble reads these; several links at once are off without the first. */
function childEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, NODE_OPTIONS: '', NOBLE_MULTI_ROLE: '1', BLENO_MULTI_ROLE: '1' }
}

function describe(code: number | null, signal: string | null, words: string): string {
  const how = signal === null ? `ended with code ${code ?? '?'}` : `was ended by ${signal}`
  // The line of an uncaught error that says what it was.
  const line = words.split('\n').find((text) => /^\w*Error\b/.test(text)) ?? words.trim().split('\n').at(-1)!
  return line === '' ? how : `${how} (${line.trim()})`
}
