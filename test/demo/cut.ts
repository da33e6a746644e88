import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'postern/client'
import type { LossyProxy } from './lossy-proxy.ts'
import { names, type Screen } from './screen.ts'

/** How often the daemon is asked which path it uses. */
const LOOK_MS = 20

/** What the session did when its UDP was cut, and when it came back. `undefined`: it did not, while the game lasted. */
export interface CutResult {
  readonly toTcpMs: number | undefined
  readonly backMs: number | undefined
}

/** Cuts UDP in mid-game and heals it later, and watches by what path the guest's daemon reaches the host's. */
export class Cut implements AsyncDisposable {
  readonly #proxy: LossyProxy
  readonly #guest: Client
  readonly #screen: Screen
  readonly #stop = new AbortController()
  #result: CutResult = { toTcpMs: undefined, backMs: undefined }
  #running: Promise<void> = Promise.resolve()

  constructor(proxy: LossyProxy, guest: Client, screen: Screen) {
    this.#proxy = proxy
    this.#guest = guest
    this.#screen = screen
  }

  begin(): void {
    this.#proxy.cutUdp()
    this.#screen.note('✂ UDP is cut: nobody tells the daemons')
    this.#watch('tcp', (ms) => {
      this.#result = { ...this.#result, toTcpMs: ms }
      this.#screen.note(`⇢ ${names.guest}'s daemon goes on over TCP, ${ms} ms after the cut`)
    })
  }

  heal(): void {
    this.#proxy.healUdp()
    this.#screen.note('✓ UDP works again')
    this.#watch('udp', (ms) => {
      this.#result = { ...this.#result, backMs: ms }
      this.#screen.note(`⇠ back on UDP, ${ms} ms later`)
    })
  }

  /** Ends the watching, after the last change came or the patience is over. */
  async end(patienceMs: number): Promise<CutResult> {
    const patience = setTimeout(() => this.#stop.abort(), patienceMs)
    await this.#running
    clearTimeout(patience)
    return this.#result
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  /** One after the other: a change that did not come keeps the next from being seen too early. */
  #watch(kind: string, then: (ms: number) => void): void {
    const since = performance.now()
    this.#running = this.#running.then(async () => {
      while (!this.#stop.signal.aborted) {
        const [peer] = await this.#guest.peers({ state: 'connected' }).catch(() => [])
        if (peer?.path?.startsWith(kind) === true) {
          then(Math.round(performance.now() - since))
          return
        }
        await sleep(LOOK_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined)
      }
    })
  }
}
