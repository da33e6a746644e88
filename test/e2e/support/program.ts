import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { readResult, resultNameOf } from './schemas.ts'

const programs = { posternd: '../../../dist/daemon/main.js', postern: '../../../dist/cli/main.js' } as const

export type ProgramName = keyof typeof programs

export function programFile(name: ProgramName): string {
  return fileURLToPath(new URL(programs[name], import.meta.url))
}

/** The environment of this process without anything that would lead a program to another instance, or to servers outside, or to the router of this machine. */
export function cleanEnvironment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined && !/^(POSTERN|XDG|NODE_OPTIONS)/.test(name)) env[name] = value
  return { ...env, POSTERN_STUN: '0', POSTERN_PORTMAP: '0', POSTERN_BLE: '0', ...more }
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly input?: string
  /** What to start it with, before the program itself: `['ip', 'netns', 'exec', 'x']`. */
  readonly prefix?: readonly string[]
  readonly timeoutMs?: number
  /** Its standard input stays open, for who writes to it later. */
  readonly talks?: true
}

export interface Outcome {
  /** `null`: ended by a signal. */
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
}

/** A process of the tests, which ends it by its own id whatever happens. */
export class Program implements AsyncDisposable {
  readonly child: ChildProcess
  readonly ended: Promise<Outcome>
  out = ''
  err = ''
  #closed = false
  #wake: () => void = () => undefined

  constructor(command: readonly string[], options: RunOptions & { readonly ipc?: boolean } = {}) {
    const [first, ...rest] = [...(options.prefix ?? []), ...command]
    this.child = spawn(first!, rest, {
      cwd: options.cwd, env: cleanEnvironment(options.env), stdio: ['pipe', 'pipe', 'pipe', ...(options.ipc === true ? ['ipc' as const] : [])],
    })
    this.child.stdin?.on('error', () => undefined)
    if (options.talks !== true) this.child.stdin?.end(options.input ?? '')
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.out += text
      this.#wake()
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.err += text
      this.#wake()
    })
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (status, signal) => {
        this.#closed = true
        this.#wake()
        resolve({ status, signal, out: this.out, err: this.err })
      })
    })
    this.ended.catch(() => undefined)
  }

  static start(name: ProgramName, args: readonly string[], options: RunOptions & { readonly ipc?: boolean } = {}): Program {
    return new Program([process.execPath, programFile(name), ...args], options)
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  get pid(): number {
    return this.child.pid!
  }

  /** Resolves when standard output and error together match; rejects when the program ends first. One caller at a time. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.out) ?? pattern.exec(this.err)
      if (found !== null) return found
      if (this.#closed) throw new Error(`it ended without ${pattern}:\n${this.out}\n${this.err}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async stop(signal: NodeJS.Signals): Promise<Outcome> {
    this.child.kill(signal)
    return await this.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.pid !== undefined && this.running) await this.stop('SIGKILL')
  }
}

/** Runs a program to its end. One that takes longer than `timeoutMs` (20 s) is killed, which shows as `status: null`. */
export async function run(name: ProgramName, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return await finish(Program.start(name, args, options), options.timeoutMs)
}

export async function finish(program: Program, timeoutMs = 20_000): Promise<Outcome> {
  const timer = setTimeout(() => program.child.kill('SIGKILL'), timeoutMs)
  try {
    return await program.ended
  } finally {
    clearTimeout(timer)
  }
}

/** Runs a command of the CLI that must work; its text. */
export async function postern(dir: string, ...args: readonly string[]): Promise<string> {
  const { status, out, err } = await run('postern', ['--dir', dir, ...args])
  if (status !== 0) throw new Error(`postern ${args.join(' ')} ended with ${status ?? 'a signal'}:\n${out}${err}`)
  return out
}

/** The same with `--json`: what it printed, which is one line, as its published schema says. */
export async function posternJson(dir: string, ...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  const lines = await posternLines(dir, ...args)
  if (lines.length !== 1) throw new Error(`not one line: ${lines.length}`)
  return lines[0]!
}

/** With `--json` where a command prints a line for each of something. */
export async function posternLines(dir: string, ...args: readonly string[]): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const out = await postern(dir, '--json', ...args)
  const name = resultNameOf(args)
  return out.trimEnd().split('\n').map((line) => readResult(name, line) as unknown as Readonly<Record<string, unknown>>)
}
