import type { PeerHandle } from '../../base/domain.ts'
import type { Instant, Now } from '../../base/time.ts'
import type { RekeyService } from '../../connection/host.ts'
import type { Keys } from '../../connection/keys/keys.ts'
import { answerRekey, RekeyInitiation, type RekeyPayload, type RekeyResult, type RekeySession } from '../../session/rekey.ts'
import { suiteOf, type Suite } from '../../session/suites.ts'
import { stampOf } from '../../session/tai64n.ts'
import type { Handshakes } from './handshakes.ts'
import type { Node } from '../node.ts'

const NO_SID = new Uint8Array(8)
const SUITE: Suite = suiteOf(1)!

export class Rekeys implements RekeyService {
  readonly #node: Node
  readonly #handshakes: Handshakes

  constructor(node: Node, handshakes: Handshakes) {
    this.#node = node
    this.#handshakes = handshakes
  }

  begin(now: Now, slot: number, peer: PeerHandle, sidSelf: Uint8Array, sidPeer: Uint8Array): RekeyInitiation | undefined {
    const session = this.#session(peer, SUITE, sidSelf, sidPeer)
    if (session === undefined || this.#node.sessions[slot] === undefined) return undefined
    const initiation = new RekeyInitiation(session, this.#payload(now))
    this.#node.index.set(initiation.localIndex, { kind: 'rekey', initiation })
    return initiation
  }

  end({ localIndex }: RekeyInitiation): void {
    // After success the index names the keys: it stays.
    if (this.#node.index.get(localIndex)?.kind === 'rekey') this.#node.index.remove(0 as Instant, localIndex, false)
  }

  finish(now: Now, slot: number, initiation: RekeyInitiation, { keys, payload }: RekeyResult, remoteIndex: number): Keys {
    const connection = this.#node.sessions[slot]!
    const made = this.#handshakes.makeKeys(now, initiation.localIndex, remoteIndex, keys, true, connection.state.lower, payload.resetToken, true)
    this.#node.index.set(initiation.localIndex, { kind: 'keys', keys: made, connection })
    return made
  }

  answer(now: Now, slot: number, peer: PeerHandle, sidSelf: Uint8Array, sidPeer: Uint8Array, suiteNumber: number, message: Uint8Array, senderIndex: number): { readonly keys: Keys; readonly message: Uint8Array } | undefined {
    const suite = suiteOf(suiteNumber)
    const session = suite === undefined ? undefined : this.#session(peer, suite, sidSelf, sidPeer)
    const connection = this.#node.sessions[slot]
    if (session === undefined || connection === undefined) return undefined
    const payload = this.#payload(now)
    const answered = answerRekey(session, payload, message, senderIndex)
    if (typeof answered === 'string') return undefined
    const keys = this.#handshakes.makeKeys(now, payload.index, senderIndex, answered.keys, false, !connection.state.lower, answered.payload.resetToken, true)
    this.#node.index.set(payload.index, { kind: 'keys', keys, connection })
    return { keys, message: answered.message }
  }

  #session(handle: PeerHandle, suite: Suite, sidSelf: Uint8Array, sidPeer: Uint8Array): RekeySession | undefined {
    const { roster, provider, identity } = this.#node
    const peer = roster.get(handle)
    if (peer === undefined) return undefined
    return { provider, identity, suite, peerId: peer.id, peerStatic: peer.staticKey, sidSelf, sidPeer }
  }

  /** Limits and stamp are said again and count for nothing: they were settled when the session began. */
  #payload(now: Now): RekeyPayload {
    return this.#handshakes.payload(this.#node.index.draw(), stampOf(now.wall), NO_SID, NO_SID)
  }
}
