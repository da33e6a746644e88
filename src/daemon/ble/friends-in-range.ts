import { PosternError } from '../../core/base/errors.ts'
import type { PeerHandle } from '../../core/endpoint/contract.ts'
import type { ConnectWish } from '../config/config-schema.ts'
import type { NodeRuntime } from '../node-runtime.ts'
import { Waiters } from '../waiters.ts'

/** Friends who come into range of the radio: a session that is wanted is begun, and who waited for one of them goes on. */
export class FriendsInRange {
  readonly #runtime: NodeRuntime
  readonly #wish: ConnectWish
  readonly #arrivals = new Waiters<PeerHandle, true>()

  constructor(runtime: NodeRuntime, wish: ConnectWish) {
    this.#runtime = runtime
    this.#wish = wish
  }

  /** The peer is in range: a session that exists, in whatever state, is the core's to look after; one that does not is begun here. */
  came(peer: PeerHandle): void {
    const { endpoint } = this.#runtime
    const stats = endpoint.peerStats(peer)
    if (stats?.state === 'offline' && (this.#wish === 'friends' ? stats.inRoster : this.#wish === 'sessions' && stats.wanted)) {
      endpoint.connect(this.#runtime.now(), stats.id, { addresses: [], now: true })
      this.#runtime.schedule()
    }
    this.#arrivals.settle(peer, true)
  }

  /** Whether the peer comes into range within this time. Rejects when the caller is gone. */
  async waitFor(peer: PeerHandle, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    try {
      return await this.#arrivals.wait(peer, timeoutMs, signal, 'Waiting for a friend in range')
    } catch (error) {
      if (error instanceof PosternError && error.code === 'timeout') return false
      throw error
    }
  }
}
