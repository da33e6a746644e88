import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Lab, whyNoNamespaces, type Namespace } from './namespaces.ts'

/** What one direction of a {@link Wire} does to packets. What is left out stays as it is. */
export interface Impairment {
  /** Percent. */
  readonly loss?: number
  /** Percent that overtake those before them. */
  readonly reorder?: number
  readonly delayMs?: number
  readonly jitterMs?: number
  /** 0: no limit. */
  readonly rateKbit?: number
  /** Packets that wait at the bottleneck; the next are lost. */
  readonly queue?: number
  /** Larger IP packets vanish; 0: none. */
  readonly mtu?: number
  readonly seed?: number
}

const NAMES = { loss: 'loss', reorder: 'reorder', delayMs: 'delay', jitterMs: 'jitter', rateKbit: 'rate', queue: 'limit', mtu: 'mtu', seed: 'seed' } as const

/** Why there can be no wire here; `undefined` where there can. */
export function whyNoWire(): string | undefined {
  const why = whyNoNamespaces()
  if (why !== undefined) return why
  if (!existsSync('/dev/net/tun')) return 'this machine has no /dev/net/tun'
  return spawnSync('cc', ['--version']).error === undefined ? undefined : 'no C compiler (`cc`) is installed'
}

/** Two machines joined by one cable that loses, delays and limits what it carries (`wire.c`). */
export class Wire implements AsyncDisposable {
  readonly machines: readonly [Namespace, Namespace]
  readonly #lab: Lab
  readonly #process: ChildProcess
  readonly #directory: string
  #said = ''
  #wake: () => void = () => undefined

  private constructor(lab: Lab, process: ChildProcess, directory: string) {
    this.#lab = lab
    this.#process = process
    this.#directory = directory
    this.machines = lab.machines as readonly [Namespace, Namespace]
    process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text
      this.#wake()
    })
    process.once('close', () => {
      this.#said += '\nended\n'
      this.#wake()
    })
    process.stdin?.on('error', () => undefined)
  }

  /** @param source the directory of `wire.c` */
  static async open(source: string): Promise<Wire> {
    const directory = mkdtempSync(join(tmpdir(), 'postern-wire-'))
    const program = join(directory, 'wire')
    const built = spawnSync('cc', ['-std=c11', '-O2', '-Wall', '-Wextra', '-o', program, join(source, 'wire.c')], { encoding: 'utf8' })
    if (built.status !== 0) throw new Error(`cc failed:\n${built.stderr}`)
    const lab = new Lab(2, 'no switch')
    const [a, b] = lab.machines
    const wire = new Wire(lab, spawn(program, [a!.name, b!.name], { stdio: ['pipe', 'pipe', 'inherit'] }), directory)
    try {
      await wire.#says('ready')
      for (const machine of lab.machines) machine.configure()
      return wire
    } catch (error) {
      await wire[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Resolves when it holds for every packet from now on. `from`: which machine's packets, 0 or 1; both when left out. */
  async impair(how: Impairment, from?: 0 | 1): Promise<void> {
    for (const side of from === undefined ? [0, 1] : [from]) {
      const words = Object.entries(how).map(([name, value]) => `${NAMES[name as keyof Impairment]}=${value}`)
      this.#process.stdin?.write(`${side === 0 ? 'A' : 'B'} ${words.join(' ')}\n`)
      await this.#says('set')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) resolve()
      else this.#process.once('close', () => resolve())
    })
    this.#process.stdin?.end()
    await ended
    this.#lab[Symbol.dispose]()
    rmSync(this.#directory, { recursive: true, force: true })
  }

  async #says(word: string): Promise<void> {
    for (;;) {
      const at = this.#said.indexOf(`${word}\n`)
      if (at >= 0) {
        this.#said = this.#said.slice(at + word.length + 1)
        return
      }
      if (this.#said.includes('\nended\n')) throw new Error('the wire has ended')
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
