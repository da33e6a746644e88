import { equalConstantTime } from '../base/bytes.ts'
import { ADDRESS_SIZE } from '../base/address.ts'
import type { LinkId } from '../base/domain.ts'
import { minute, second, type Duration, type Instant, type Now } from '../base/time.ts'
import { onReset } from '../connection/dialing/dial.ts'
import { resetToken } from '../session/macs.ts'
import { decodeResetDatagram, encodeResetDatagram, RESET_SIZE } from '../wire/datagram.ts'
import { sourceKeyOf } from './handshakes/handshakes.ts'
import type { Node } from './node.ts'

/** So long after a start any unknown index may be one of the life before. */
const START_TIME: Duration = 10 * minute
const PER_SECOND = 100
const SOURCE_PAUSE: Duration = second

/**
 * RESET (WIRE.md §3.10): says to a peer that its keys are not known here, and is told so. It is a hint and never a kill: who
 * receives one keeps session and keys, and makes a handshake that shows what is true.
 */
export class Resets {
  readonly #node: Node
  readonly #startedAt: Instant
  /** Source → when a RESET went there, oldest first. BOUNDED: a second holds no more than are sent in one, then nobody is answered. */
  readonly #sent = new Map<string, Instant>()

  constructor(node: Node, now: Now) {
    this.#node = node
    this.#startedAt = now.mono
  }

  /** A transport datagram came for an index that names nothing. Outside the two cases a node is silent to scanners. */
  answer(now: Now, index: number, link: LinkId, addresses: Uint8Array, addressOffset: number, local: number): void {
    const node = this.#node
    if (now.mono - this.#startedAt >= START_TIME && !node.index.isBuried(now.mono, index)) return
    const kind = node.link(link)?.kind
    // The token of an index is the same for ever: on the air, where nobody may know a node again, a stranger would learn that it is the one of before.
    if (kind === undefined || kind === 'ble' || node.shuttingDown || !this.#take(now.mono, sourceKeyOf(kind, addresses, addressOffset))) return
    node.counters.add('resets_sent')
    node.sendRaw(link, addresses.slice(addressOffset, addressOffset + ADDRESS_SIZE), encodeResetDatagram(index, resetToken(node.provider, node.resetKey, index)), local)
  }

  /** Whether one more may go: a hundred a second, one a second to each source. */
  #take(now: Instant, source: string): boolean {
    for (const [oldest, at] of this.#sent) {
      if (now - at < SOURCE_PAUSE) break
      this.#sent.delete(oldest)
    }
    if (this.#sent.size >= PER_SECOND || this.#sent.has(source)) return false
    this.#sent.set(source, now)
    return true
  }

  /** A RESET came. Without the token that the peer gave us for this very index it is nobody's word. */
  onReset(now: Now, bytes: Uint8Array, offset: number): void {
    const node = this.#node
    const reset = decodeResetDatagram(bytes, offset, RESET_SIZE)
    const entry = reset.kind === 'malformed' ? undefined : node.index.findByRemote(reset.index)
    if (reset.kind === 'malformed' || entry === undefined || !equalConstantTime(reset.token, entry.keys.remoteResetToken) || !onReset(entry.connection.state, now, entry.keys)) {
      node.counters.add('drop_reset')
      return
    }
    node.counters.add('resets_received')
    node.reschedule(entry.connection)
  }
}
