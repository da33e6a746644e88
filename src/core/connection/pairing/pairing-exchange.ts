import { PAIR_NONCE_SIZE } from '../../session/pairing.ts'
import { pairOps, type PairOp } from '../../wire/pair-frame.ts'

/**
 * Two people compare a code before their nodes know each other (`session/pairing.ts`). Until both have said yes, the session is good for nothing else.
 *
 *   responder: committed ─nonce─► compared      initiator: waiting ─commit─► answered ─reveal─► compared      compared ─both accepted─► done
 */
export class PairingExchange {
  readonly h: Uint8Array
  /** Of the XX handshake. */
  readonly initiator: boolean
  readonly nonce: Uint8Array
  state: 'begun' | 'answered' | 'compared' = 'begun'
  commit: Uint8Array | undefined
  peerNonce: Uint8Array | undefined
  code: string | undefined
  accepted = false
  peerAccepted = false
  /** What is to be sent, by number of the op. */
  wanted = 0

  /** @param randomBytes fresh ones */
  constructor(randomBytes: (length: number) => Uint8Array, h: Uint8Array, initiator: boolean) {
    this.h = h
    this.initiator = initiator
    this.nonce = randomBytes(PAIR_NONCE_SIZE)
    if (!initiator) this.want('commit')
  }

  want(op: PairOp): void {
    this.wanted |= 1 << pairOps.indexOf(op)
  }
}
