import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { parseCount, parseInterval, parseSeconds } from './arguments.ts'
import { LiveLine } from './live-line.ts'
import type { Globals, Output } from './output.ts'
import { PingFigures, summaryText } from './ping-figures.ts'
import { findPeer, interruption, withClient } from './session.ts'
import { pathText, safeLine } from './text.ts'

export interface PingOptions {
  readonly count?: string
  readonly interval?: string
  readonly deadline?: string
}

/** So many may wait for their answer; the next one goes out when one is answered or given up. */
const IN_FLIGHT_MAX = 8
/** After these nothing more can be learnt from this daemon. */
const FATAL_CODES: readonly string[] = ['disconnected', 'shutting_down', 'closed', 'scope', 'internal']

/** Round trips to a peer until the count, the deadline or Ctrl-C, and then what came of them. */
export async function ping(globals: Globals, who: string, options: PingOptions, output: Output): Promise<void> {
  const count = parseCount(options.count ?? '5', '--count', 0)
  const intervalMs = parseInterval(options.interval ?? '1', '--interval')
  const deadlineMs = options.deadline === undefined ? undefined : Math.max(1, parseSeconds(options.deadline, '--deadline') * 1000)
  const stop = deadlineMs === undefined ? interruption() : AbortSignal.any([interruption(), AbortSignal.timeout(deadlineMs)])
  await withClient(globals, async (client) => {
    const known = await client.peers()
    const peer = findPeer(who, known)
    const label = safeLine(known.find(({ id }) => id === peer)?.name ?? peer.slice(0, 8))
    const run = new PingRun(client, peer, label, output, stop)
    await run.connect()
    await run.go(count === 0 ? Infinity : count, intervalMs)
    run.end()
  })
}

class PingRun {
  readonly #client: Client
  readonly #peer: string
  readonly #label: string
  readonly #output: Output
  /** Aborts what waits: Ctrl-C, the deadline, or a fatal answer. */
  readonly #stop: AbortSignal
  readonly #own = new AbortController()
  readonly #figures = new PingFigures()
  readonly #waiting = new Set<Promise<void>>()
  readonly #line: LiveLine | undefined
  readonly #startedAt = performance.now()
  #path = ''
  #failure: PosternError | undefined

  constructor(client: Client, peer: string, label: string, output: Output, stop: AbortSignal) {
    this.#client = client
    this.#peer = peer
    this.#label = label
    this.#output = output
    this.#stop = AbortSignal.any([stop, this.#own.signal])
    this.#line = output.redraws ? new LiveLine(process.stdout) : undefined
  }

  /** Connecting is not part of any round trip, and a peer that cannot be reached is an error of its own. */
  async connect(): Promise<void> {
    try {
      await this.#client.connectPeer(this.#peer, { signal: this.#stop })
    } catch (error) {
      if (!(error instanceof PosternError) || error.code !== 'aborted') throw error
    }
  }

  async go(count: number, intervalMs: number): Promise<void> {
    const begin = performance.now()
    for (let i = 0; i < count; i++) {
      // By the clock, so that the time a ping takes does not add to the pause.
      const pauseMs = begin + i * intervalMs - performance.now()
      if (pauseMs > 0) await sleep(pauseMs, undefined, { signal: this.#stop }).catch(() => undefined)
      if (this.#waiting.size >= IN_FLIGHT_MAX) await Promise.race(this.#waiting)
      if (this.#stop.aborted) break
      const one = this.#one(this.#figures.send()).finally(() => this.#waiting.delete(one))
      this.#waiting.add(one)
      this.#line?.update(this.#figures.liveText(this.#label, pathText(this.#path)))
    }
    await Promise.all(this.#waiting)
  }

  /** The summary; then an error if nothing was answered, or if the daemon went away. */
  end(): void {
    this.#line?.end()
    const summary = this.#figures.summary(this.#peer, performance.now() - this.#startedAt)
    this.#output.result('ping', summary, () => summaryText(this.#label, summary))
    if (this.#failure !== undefined) throw this.#failure
    if (summary.sent > 0 && summary.answered === 0) throw new PosternError('timeout', 'No ping was answered.', { hint: 'Look at: postern peers' })
  }

  async #one(sequence: number): Promise<void> {
    try {
      const { rttMs, path } = await this.#client.ping(this.#peer, { signal: this.#stop })
      for (const ms of rttMs) this.#answered(sequence, ms, path)
    } catch (error) {
      this.#failed(sequence, error)
    }
  }

  #answered(sequence: number, rttMs: number, path: string): void {
    this.#figures.answer(rttMs)
    if (this.#line === undefined) {
      this.#output.result('ping', { kind: 'pong', peer: this.#peer, sequence, rttMs, path }, () => `${this.#label} by ${pathText(path)}: ${rttMs.toFixed(2)} ms`)
    } else {
      if (path !== this.#path) this.#line.print(`${this.#label} ${this.#path === '' ? 'by' : 'now by'} ${pathText(path)}`)
      this.#line.update(this.#figures.liveText(this.#label, pathText(path)))
    }
    this.#path = path
  }

  #failed(sequence: number, error: unknown): void {
    if (!(error instanceof PosternError) || FATAL_CODES.includes(error.code)) {
      this.#figures.forget()
      this.#failure ??= error instanceof PosternError ? error : new PosternError('internal', String(error), { cause: error })
      this.#own.abort()
      return
    }
    if (error.code === 'aborted') {
      this.#figures.forget()
      return
    }
    this.#figures.lose()
    const { code, message } = error
    const text = `${this.#label}: ${safeLine(message)} [${code}]`
    if (this.#line === undefined) this.#output.result('ping', { kind: 'lost', peer: this.#peer, sequence, code }, () => text)
    else this.#line.print(text)
  }
}
