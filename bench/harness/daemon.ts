import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, type Client } from '../../src/client/client.ts'
import type { StartReport } from '../../src/daemon/background.ts'
import type { DaemonBuild } from './case.ts'
import { probeArguments } from './probe-client.ts'
import { watchProcess } from './running.ts'

const STOP_TIMEOUT_MS = 10_000

export interface DaemonOptions {
  readonly name: string
  readonly build: DaemonBuild
  /** Parent of its instance directory. */
  readonly directory: string
  /** Configuration that differs from the defaults: `section.key` and the value as TOML. */
  readonly set?: Readonly<Record<string, string>>
  /** With a probe it can be profiled and asked for its memory; without, it runs exactly as shipped. */
  readonly probe?: boolean
  /** URL of a module that is loaded before it. */
  readonly preload?: string
  /** What to start it with: `['ip', 'netns', 'exec', 'x']`. */
  readonly prefix?: readonly string[]
  /** Where the other reaches it; loopback when left out. */
  readonly address?: string
}

type Ready = Extract<StartReport, { readonly kind: 'ready' }>

/** A real `posternd` in a directory of its own. */
export class BenchDaemon implements AsyncDisposable {
  readonly name: string
  /** Its instance directory. */
  readonly directory: string
  readonly ready: Ready
  readonly address: string
  readonly #process: ChildProcess
  #client: Client | undefined

  private constructor(name: string, directory: string, address: string, process: ChildProcess, ready: Ready) {
    this.name = name
    this.address = address
    this.directory = directory
    this.#process = process
    this.ready = ready
  }

  static async start({ name, build, directory: parent, set = {}, probe = false, preload, prefix = [], address = '127.0.0.1' }: DaemonOptions): Promise<BenchDaemon> {
    const directory = join(parent, name)
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const logFile = join(directory, 'log')
    const log = openSync(logFile, 'a')
    const options = Object.entries(set).flatMap(([key, value]) => ['--set', `${key}=${value}`])
    const [first, ...rest] = [...prefix, process.execPath, ...(probe ? probeArguments(probeSocket(directory)) : []), ...(preload === undefined ? [] : ['--import', preload]), build.main, '--dir', directory, ...options]
    const process_ = spawn(first!, rest, {
      stdio: ['ignore', log, log, 'ipc'], env: { ...process.env, NODE_OPTIONS: '', POSTERN_STUN: '0', POSTERN_PORTMAP: '0' },
    })
    closeSync(log)
    watchProcess(process_)
    try {
      return new BenchDaemon(name, directory, address, process_, await readyOf(process_))
    } catch (error) {
      process_.kill('SIGKILL')
      throw new Error(`posternd did not start: ${error instanceof Error ? error.message : String(error)}\n${readFileSync(logFile, 'utf8').slice(-2000)}`, { cause: error })
    }
  }

  get pid(): number {
    return this.ready.pid
  }

  get probe(): string {
    return probeSocket(this.directory)
  }

  /** A connection of the bench's own, for what is asked beside the measuring. */
  async client(): Promise<Client> {
    this.#client ??= await connect({ path: this.ready.socket, name: 'bench' })
    return this.#client
  }

  async counters(): Promise<Readonly<Record<string, number>>> {
    const status = await (await this.client()).status()
    return status.counters
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.close()
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = new Promise<void>((resolve) => {
      this.#process.once('exit', () => resolve())
    })
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await exited
    clearTimeout(timer)
  }
}

function readyOf(process: ChildProcess): Promise<Ready> {
  return new Promise((resolve, reject) => {
    process.once('message', (message: StartReport) => {
      if (message.kind === 'ready') resolve(message)
      else reject(new Error(message.message))
    })
    process.once('error', reject)
    process.once('exit', (code, signal) => reject(new Error(`it ended (${signal ?? `exit status ${code ?? 'unknown'}`})`)))
  })
}

function probeSocket(directory: string): string {
  return join(directory, 'probe')
}

/** Makes two daemons known to each other by their addresses, and connects them. */
export async function pair(a: BenchDaemon, b: BenchDaemon): Promise<void> {
  const [clientA, clientB] = await Promise.all([a.client(), b.client()])
  await clientA.addPeer(b.ready.peerId, { candidates: [`${b.address}:${b.ready.udpPort}`] })
  await clientB.addPeer(a.ready.peerId, { candidates: [`${a.address}:${a.ready.udpPort}`] })
  await clientA.connectPeer(b.ready.peerId)
}

/** What counters grew by, those that did not left out. */
export function growth(before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>): Record<string, number> {
  const grown: Record<string, number> = {}
  for (const [name, value] of Object.entries(after)) {
    const by = value - (before[name] ?? 0)
    if (by !== 0) grown[name] = by
  }
  return grown
}
