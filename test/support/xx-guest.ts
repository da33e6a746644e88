import { toWallTime } from '../../src/core/base/time.ts'
import { Identity, IdValidator } from '../../src/core/session/identity.ts'
import { suiteOf } from '../../src/core/session/suites.ts'
import { stampOf } from '../../src/core/session/tai64n.ts'
import { XxInitiation } from '../../src/core/session/xx.ts'
import { xxBinding } from '../../src/core/session/xx-binding.ts'
import { decodeHandshakeFragment } from '../../src/core/wire/handshake-fragment.ts'
import { LIMITS_DEFAULT, type HandshakePayload } from '../../src/core/wire/handshake-payload.ts'
import { repeated } from './bytes.ts'
import { HandSession } from './hand-peer.ts'
import { node as provider } from './providers.ts'

const suite = suiteOf(2)!
/** Hours of the lone endpoint's clock. */
export const HOUR: Uint8Array = xxBinding(undefined, toWallTime(1_770_000_000_000))

/** Somebody who makes XX by hand. */
export class XxGuest {
  readonly identity: Identity
  readonly initiation: XxInitiation
  readonly index: number = 0x0101_0101
  readonly #validator: IdValidator = new IdValidator(provider)

  constructor(seed: number, key: Uint8Array, binding: Uint8Array = HOUR) {
    this.identity = new Identity(provider, repeated(seed))
    this.initiation = new XxInitiation({ provider, identity: this.identity, x25519Of: (id) => this.#validator.x25519Of(id) }, suite, this.index, key, binding)
  }

  get A(): Uint8Array {
    return this.initiation.datagrams(1200)[0]!
  }

  /** C for a B, and the session that it begins. */
  confirm(B: Uint8Array, change: Partial<HandshakePayload> = {}): { readonly C: Uint8Array; readonly session: HandSession } {
    const fragment = decodeHandshakeFragment(B, 0, B.length)
    if (fragment.kind === 'malformed') throw new Error(fragment.where)
    const read = this.initiation.readResponse(fragment, B, 0, B.length)
    if (typeof read === 'string') throw new Error(read)
    const { datagrams, keys } = this.initiation.confirm({
      status: 0, suites: 6, caps: 0, index: this.index, sidSelf: repeated(this.identity.id[0]! | 1, 8), sidPeer: read.payload.sidSelf, resetToken: repeated(1, 16),
      tai64n: stampOf(toWallTime(1_770_000_100_000)), limits: LIMITS_DEFAULT, invite: undefined, extensions: [], ...change,
    }, read.remoteIndex)!
    return { C: datagrams[0]!, session: new HandSession(provider, keys, true, this.index, read.remoteIndex, read.payload) }
  }
}
