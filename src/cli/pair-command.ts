import { createInterface, type Interface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, PairExchange, PairStatusResult } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { parsePeerName, parseSeconds } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { interruption, withClient } from './session.ts'

const LOOK_MS = 250
const WAIT_MAX_S = 600

export interface PairOptions {
  readonly name?: string
  readonly wait?: string
}

/** Pairs with a machine in range: both people start it, compare eight digits, and say whether they are the same. */
export async function pair(globals: Globals, options: PairOptions, output: Output): Promise<void> {
  const name = options.name === undefined ? undefined : parsePeerName(options.name, '--name')
  const timeoutS = Math.min(WAIT_MAX_S, Math.max(10, parseSeconds(options.wait ?? '2min', '--wait')))
  const stop = interruption()
  await withClient(globals, async (client) => {
    await client.pairStart({ timeoutS })
    output.progress('looking for another machine on which somebody runs postern pair …')
    const comparison = new Comparison(client, output, stop, process.stdin)
    try {
      const chosen = await comparison.choose()
      await client.pairAnswer(chosen, true)
      output.progress('waiting for the other side …')
      await comparison.wait(chosen)
      if (name !== undefined) await client.addPeer(chosen, { name })
      output.result('pair', { kind: 'paired', peer: chosen, ...(name === undefined ? {} : { name }) }, () => `Paired with ${name ?? chosen}.`)
      output.progress(`Try it: postern ping ${name ?? chosen.slice(0, 8)}`)
    } finally {
      comparison.end()
      await client.pairStop().catch(() => undefined)
    }
  })
}

/** One machine whose code is on the screen. */
interface Shown {
  readonly peer: string
  readonly code: string
  gone: boolean
}

/**
 * What the user sees and says. Anybody may show up while a window is open, so there may be several codes: each is shown with a number, and only
 * the one that the other machine shows too is the one that is meant.
 */
export class Comparison {
  readonly #client: Pick<Client, 'pairStatus'>
  readonly #output: Pick<Output, 'progress' | 'result'>
  readonly #stop: AbortSignal
  readonly #stdin: NodeJS.ReadableStream
  readonly #lookMs: number
  readonly #shown: Shown[] = []
  readonly #lines: string[] = []
  /** Machines in range, as it was told last. */
  #inRange = 0
  #input: Interface | undefined
  #inputEnded = false

  constructor(client: Pick<Client, 'pairStatus'>, output: Pick<Output, 'progress' | 'result'>, stop: AbortSignal, stdin: NodeJS.ReadableStream, lookMs: number = LOOK_MS) {
    this.#lookMs = lookMs
    this.#client = client
    this.#output = output
    this.#stop = stop
    this.#stdin = stdin
  }

  /** The peer of which the user said that it shows the same. */
  async choose(): Promise<string> {
    for (;;) {
      const status = await this.#status()
      this.#look(status.exchanges)
      this.#tellRange(status)
      const chosen = this.#shown.length === 0 ? undefined : this.#heard()
      if (chosen !== undefined) return chosen
      if (!status.open && status.exchanges.every(({ state }) => state === 'ended')) {
        throw new PosternError('timeout', 'Nobody was paired in time.', { hint: status.inRange === 0 ? 'No other Postern node is in range: postern nearby, postern ble status there.' : 'Run postern pair on the other machine at the same time.' })
      }
      await sleep(this.#lookMs)
    }
  }

  /** Before there is a code: whether there is anybody at all with whom there could be one. */
  #tellRange({ inRange }: PairStatusResult): void {
    if (inRange === this.#inRange || this.#shown.length > 0) return
    this.#inRange = inRange
    const machines = inRange === 1 ? 'machine in range is' : 'machines in range are'
    this.#output.progress(inRange === 0 ? 'Nobody is in range any more.' : `${inRange} ${machines} not paired with this one; postern pair must run there, too.`)
  }

  /** Until the other side has said yes, too. */
  async wait(peer: string): Promise<void> {
    for (;;) {
      const state = (await this.#status()).exchanges.find((exchange) => exchange.peer === peer)?.state
      if (state === 'paired') return
      if (state !== 'accepted') throw new PosternError('refused', 'The other side did not say that the codes are the same.', { hint: 'Start again on both machines: postern pair' })
      await sleep(this.#lookMs)
    }
  }

  end(): void {
    this.#input?.close()
  }

  async #status(): Promise<PairStatusResult> {
    const status = await this.#client.pairStatus()
    if (this.#stop.aborted) throw new PosternError('aborted', 'Nobody was paired.')
    return status
  }

  /** Shows who came, and says who has gone. A peer that begins anew has another code. */
  #look(exchanges: readonly PairExchange[]): void {
    for (const one of this.#shown) {
      if (one.gone || exchanges.some(({ peer, code, state }) => peer === one.peer && code === one.code && state !== 'ended')) continue
      one.gone = true
      this.#output.progress(`${grouped(one.code)} has gone.`)
    }
    for (const { peer, code, state } of exchanges) {
      if (state !== 'comparing' || this.#shown.some((one) => one.peer === peer && one.code === code)) continue
      const number = this.#shown.push({ peer, code, gone: false })
      this.#output.result('pair', { kind: 'compare', peer, code }, () => number === 1 ? `The code is ${grouped(code)}.` : `Machine ${number} (${peer.slice(0, 8)}): the code is ${grouped(code)}.`)
      this.#ask()
    }
  }

  #ask(): void {
    const choice = this.#shown.flatMap(({ code, gone }, i) => gone ? [] : [`${i + 1} (${grouped(code)})`]).join(', ')
    this.#output.progress(this.#isOnly ? 'Does the other machine show the same eight digits? yes or no:' : `Which one does the other machine show? ${choice}, or no:`)
    if (this.#input !== undefined) return
    this.#input = createInterface({ input: this.#stdin })
    this.#input.on('line', (line) => { this.#lines.push(line.trim().toLowerCase()) })
    this.#input.on('close', () => { this.#inputEnded = true })
  }

  /** Only one code was ever on the screen. Else a yes may mean another one than the one that is left: somebody could have made the right one go. */
  get #isOnly(): boolean {
    return this.#shown.length === 1
  }

  /** What was typed since: whom it chose. */
  #heard(): string | undefined {
    for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) {
      if (line === 'n' || line === 'no') throw new PosternError('refused', 'The codes differ, so nobody was paired.', { hint: 'Somebody may stand between the two machines. Try again elsewhere, or use postern invite.' })
      const chosen = line === 'y' || line === 'yes' ? (this.#isOnly ? this.#numbered('1') : undefined) : this.#numbered(line)
      if (chosen !== undefined) return chosen.peer
      if (this.#shown.some(({ gone }) => !gone)) this.#ask()
    }
    if (this.#inputEnded) throw new PosternError('refused', 'Nobody said that the codes are the same, so nobody was paired.', { hint: 'Start again on both machines: postern pair' })
    return undefined
  }

  #numbered(line: string): Shown | undefined {
    const one = /^\d{1,3}$/.test(line) ? this.#shown[Number(line) - 1] : undefined
    return one?.gone === true ? undefined : one
  }
}

/** Easier to read to one another. */
function grouped(code: string): string {
  return `${code.slice(0, 4)} ${code.slice(4)}`
}
