import type { PeerHandle } from '../base/domain.ts'
import type { Duration, Now } from '../base/time.ts'

/** What a Bluetooth driver's owner asks of the core besides links: who is who on the air, and pairing. */
export interface RadioContract {
  /** What this node advertises in this hour: 6 bytes by which friends know it, and nobody else. */
  hint(now: Now): Uint8Array
  /** The friend that advertises these 6 bytes. */
  findByHint(now: Now, hint: Uint8Array): PeerHandle | undefined
  /** For so long, but 10 minutes at most, strangers may begin a handshake and compare a code (event `pairing`). */
  openPairing(now: Now, duration: Duration): void
  closePairing(now: Now): void
  pairingOpen(now: Now): boolean
  /** Dials whoever is at this Bluetooth address, to compare a code. False when no pairing window is open. Events `link-peer` or `link-refused` say what came of it. */
  dialStranger(now: Now, address: Uint8Array): boolean
  /** The user says that both sides show the same code; false when there is none. With the peer's own yes it is in the roster (event `paired`). */
  acceptPairing(now: Now, peer: PeerHandle): boolean
  rejectPairing(now: Now, peer: PeerHandle): boolean
}
