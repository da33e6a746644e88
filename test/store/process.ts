import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const script = fileURLToPath(new URL('child.mjs', import.meta.url))

/** Another process on a state directory; what it says is in `lines`. */
export class Child implements AsyncDisposable {
  readonly lines: string[] = []
  readonly exited: Promise<void>
  readonly #process: ChildProcess
  #wake: () => void = () => undefined

  constructor(task: 'puts' | 'hold' | 'spawn', directory: string, flockProgram: string | undefined, first = 0) {
    this.#process = spawn(process.execPath, [script, task, directory, flockProgram ?? '-', String(first)], { stdio: ['ignore', 'pipe', 'inherit'] })
    let rest = ''
    this.#process.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n')
      rest = parts.pop()!
      this.lines.push(...parts)
      this.#wake()
    })
    this.exited = new Promise((resolve) => this.#process.once('close', () => {
      this.#wake()
      resolve()
    }))
  }

  get pid(): number {
    return this.#process.pid!
  }

  /** The first line that begins in one of these ways; rejects when the process ends without one. One caller at a time. */
  async line(...starts: readonly string[]): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) => starts.some((start) => line.startsWith(start)))
      if (found !== undefined) return found
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) throw new Error(`the child ended without "${starts.join('", "')}": ${this.lines.slice(-3).join(' | ')}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#process.kill(signal)
    await this.exited
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.kill('SIGKILL')
  }
}

/** Mounts a small tmpfs on a directory, `undefined` (and one line) where this process may not. */
export function mountSmallDisk(directory: string, size: string): { readonly remount: (option: 'ro' | 'rw') => void } & Disposable | undefined {
  const mount = (...args: string[]): boolean => spawnSync('mount', args, { stdio: 'ignore' }).status === 0
  if (process.getuid?.() !== 0 || !mount('-t', 'tmpfs', '-o', `size=${size},mode=700`, 'tmpfs', directory)) {
    console.warn('skipped: mounting a small tmpfs takes root on Linux')
    return undefined
  }
  return {
    remount: (option) => {
      if (!mount('-o', `remount,${option}`, directory)) throw new Error(`remount ${option} failed`)
    },
    [Symbol.dispose]: () => {
      spawnSync('umount', ['-l', directory], { stdio: 'ignore' })
    },
  }
}
