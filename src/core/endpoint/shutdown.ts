import { never, second, toInstant, type Instant, type Now } from '../base/time.ts'
import { channelCodes } from '../wire/frame.ts'
import type { Node } from './node.ts'

/** How often a shutdown looks whether channels have drained. */
const DRAIN_CHECK = 0.02 * second

/** The end of a node: channels drain, then sessions say goodbye, then nothing is left. */
export class Shutdown {
  readonly #node: Node
  #state: 'no' | 'draining' | 'closing' | 'drained' = 'no'
  #drainBy: Instant = never

  constructor(node: Node) {
    this.#node = node
  }

  /** False when it runs already. */
  begin(now: Now, deadline: Instant): boolean {
    const node = this.#node
    if (this.#state !== 'no') return false
    this.#state = 'draining'
    this.#drainBy = deadline
    node.shuttingDown = true
    for (const connection of node.sessions) {
      if (connection === undefined) continue
      for (const channel of [...connection.state.channels.values()]) connection.closeChannel(now, channel, false, channelCodes.app_gone, 'shutting down')
      node.reschedule(connection)
    }
    this.advance(now)
    return true
  }

  advance(now: Now): void {
    const node = this.#node
    const late = now.mono >= this.#drainBy
    if (this.#state === 'draining' && (late || !node.sessions.some((connection) => connection !== undefined && connection.state.channels.size > 0 && connection.reachable))) {
      this.#state = 'closing'
      for (const connection of [...node.sessions]) {
        if (connection === undefined) continue
        connection.close(now, 'shutting_down', '')
        node.reschedule(connection)
      }
    }
    // Nobody is waited for beyond the one CLOSE that tells it.
    if (this.#state === 'closing' && (late || !node.sessions.some((connection) => connection?.saysGoodbye === true))) {
      this.#state = 'drained'
      node.push({ kind: 'drained' })
    }
  }

  nextTimeout(now: Instant): Instant {
    return this.#state === 'no' || this.#state === 'drained' ? never : toInstant(Math.min(this.#drainBy, now + DRAIN_CHECK))
  }
}
