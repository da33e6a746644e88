import type { PeerHandle } from '../base/domain.ts'
import type { Duration, Now } from '../base/time.ts'
import type { Node } from './node.ts'
import type { RadioContract } from './radio-contract.ts'

/** {@link RadioContract} over the tables of the node. */
export class Radio implements RadioContract {
  readonly #node: Node

  constructor(node: Node) {
    this.#node = node
  }

  hint(now: Now): Uint8Array {
    return this.#node.presence.hint(now)
  }

  findByHint(now: Now, hint: Uint8Array): PeerHandle | undefined {
    return this.#node.presence.find(now, hint)
  }

  openPairing(now: Now, duration: Duration): void {
    this.#node.pairing.open(now, duration)
  }

  closePairing(now: Now): void {
    this.#node.pairing.close(now)
  }

  pairingOpen(now: Now): boolean {
    return this.#node.pairing.isOpen(now)
  }

  dialStranger(now: Now, address: Uint8Array): boolean {
    if (!this.#node.pairing.isOpen(now)) return false
    this.#node.links.dialAnybody('ble', address)
    return true
  }

  acceptPairing(now: Now, peer: PeerHandle): boolean {
    return this.#node.pairing.accept(now, peer)
  }

  rejectPairing(now: Now, peer: PeerHandle): boolean {
    return this.#node.pairing.reject(now, peer)
  }
}
