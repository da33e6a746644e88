import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Client, type ConnectOptions } from '../../../src/client/client.ts'
import type { Namespace } from '../../lab/namespaces.ts'
import { Program, type Outcome } from './program.ts'

export interface DaemonSettings {
  /** Lines of TOML beside what every daemon of the tests has. */
  readonly toml?: string
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** On another machine of a lab, whose every address it listens on. */
  readonly machine?: Namespace
}

interface Ready {
  readonly kind: 'ready' | 'failed'
  readonly peerId: string
  readonly udpPort: number
  readonly socket: string
}

/** A real posternd in the foreground on loopback, with everything it keeps under one directory. It may be started many times. */
export class TestDaemon implements AsyncDisposable {
  readonly dir: string
  readonly #settings: DaemonSettings
  readonly #clients = new Set<Client>()
  #program: Program | undefined
  #ready: Ready | undefined

  private constructor(dir: string, settings: DaemonSettings) {
    this.dir = dir
    this.#settings = settings
  }

  /** Started and ready to serve. */
  static async start(dir: string, settings: DaemonSettings = {}): Promise<TestDaemon> {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const file = join(dir, 'postern.toml')
    if (!existsSync(file)) writeFileSync(file, `[udp]\nbind = ["${settings.machine === undefined ? '127.0.0.1' : '::'}"]\n[log]\nlevel = "debug"\n${settings.toml ?? ''}`, { mode: 0o600 })
    const daemon = new TestDaemon(dir, settings)
    await daemon.again()
    return daemon
  }

  /** Starts it once more, after it ended. */
  async again(): Promise<void> {
    if (this.#program?.running === true) throw new Error('it runs already')
    const program = Program.start('posternd', ['--dir', this.dir, ...(this.#settings.args ?? [])], { env: this.#settings.env ?? {}, ipc: true, prefix: this.#settings.machine?.prefix ?? [] })
    this.#program = program
    const ready = await Promise.race([
      new Promise<Ready>((resolve) => program.child.once('message', (message) => resolve(message as Ready))),
      program.ended.then((outcome): Ready => {
        throw new Error(`posternd ended before it was ready: ${outcome.err}`)
      }),
    ])
    if (ready.kind === 'failed') throw new Error(`posternd failed: ${(await program.ended).err}`)
    this.#ready = ready
  }

  get program(): Program {
    return this.#program!
  }

  get peerId(): string {
    return this.#ready!.peerId
  }

  get udpPort(): number {
    return this.#ready!.udpPort
  }

  get socket(): string {
    return this.#ready!.socket
  }

  /** Everything it logged in this run. */
  get log(): string {
    return this.program.err
  }

  stateFile(name = 'state.sealed'): Uint8Array {
    return readFileSync(join(this.dir, 'state', name))
  }

  /** A client of it, closed with it. */
  async client(options: ConnectOptions = {}): Promise<Client> {
    const client = await connect({ dir: this.dir, name: 'e2e', ...options })
    this.#clients.add(client)
    return client
  }

  async counters(): Promise<Readonly<Record<string, number>>> {
    const client = await connect({ dir: this.dir, name: 'counters', reconnect: false })
    try {
      return (await client.status()).counters
    } finally {
      await client.close()
    }
  }

  /** Resident memory in bytes, by Linux; 0 elsewhere. */
  resident(): number {
    const file = `/proc/${this.program.pid}/status`
    if (!existsSync(file)) return 0
    return Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? 0) * 1024
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Outcome> {
    return this.program.stop(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close()
    await this.#program?.[Symbol.asyncDispose]()
  }
}

/** `joiner` comes into `inviter`'s roster by an invite, and the two are connected. */
export async function pair(inviter: TestDaemon, joiner: TestDaemon): Promise<void> {
  const [from, to] = [await inviter.client(), await joiner.client()]
  const { link } = await from.invites.create()
  await to.invites.join(link)
  await to.connectPeer(inviter.peerId, { timeoutMs: 10_000 })
  // The other side may be told a moment later.
  await until(async () => (await from.peers({ state: 'connected' })).some(({ id }) => id === joiner.peerId))
}

/** Looks again and again until it holds; a test that waits for ever ends by its own timeout, with a sentence. */
export async function until(holds: () => Promise<boolean> | boolean, what = 'what the test waits for', timeoutMs = 15_000): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what} did not happen within ${timeoutMs / 1000} s`)
    await sleep(20)
  }
}
