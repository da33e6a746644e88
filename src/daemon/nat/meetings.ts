import type { PeerHandle } from '../../core/endpoint/contract.ts'

/** A dial is quiet after 90 s without an answer; a router forgets the way out after 30 s. */
const PAUSE_MS = 20_000
/** The one that would end first makes room: a person is waited for longer than one who introduces. */
const MEETINGS_MAX = 64

/**
 * Peers that were told where we are, or told us, by other ways than a session: both sides dial them again and again for a while, so that both have the doors
 * of their routers open at the same moment.
 */
export class Meetings {
  readonly #until = new Map<PeerHandle, number>()
  readonly #dial: (peer: PeerHandle) => boolean
  #timer: NodeJS.Timeout | undefined

  /** @param dial false: there is nothing to wait for any more */
  constructor(dial: (peer: PeerHandle) => boolean) {
    this.#dial = dial
  }

  begin(peer: PeerHandle, patienceMs: number): void {
    // One who introduces for a minute does not end what a person waits for.
    const until = Math.max(this.#until.get(peer) ?? 0, performance.now() + patienceMs)
    this.#until.delete(peer)
    if (this.#until.size >= MEETINGS_MAX) this.#until.delete([...this.#until].reduce((soonest, entry) => (entry[1] < soonest[1] ? entry : soonest))[0])
    if (!this.#dial(peer)) return
    this.#until.set(peer, until)
    this.#timer ??= setInterval(() => this.#round(), PAUSE_MS).unref()
  }

  get count(): number {
    return this.#until.size
  }

  end(peer: PeerHandle): void {
    if (this.#until.delete(peer)) this.#rest()
  }

  #round(): void {
    for (const [peer, until] of this.#until) {
      if (performance.now() >= until || !this.#dial(peer)) this.#until.delete(peer)
    }
    this.#rest()
  }

  #rest(): void {
    if (this.#until.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
