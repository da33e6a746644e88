import { utf8 } from '../../src/core/base/bytes.ts'
import type { CryptoProvider, X25519KeyPair } from '../../src/core/crypto/provider.ts'
import { HandshakeState, type HandshakeOptions } from '../../src/core/session/noise.ts'
import { suiteOf, type SuiteNumber } from '../../src/core/session/suites.ts'

export interface Pair {
  readonly initiator: HandshakeState
  readonly responder: HandshakeState
  readonly initiatorStatic: X25519KeyPair
  readonly responderStatic: X25519KeyPair
}

/** Two ends of one handshake, with fresh keys unless given. */
export function handshakePair(provider: CryptoProvider, suiteNumber: SuiteNumber, change: { readonly initiator?: Partial<HandshakeOptions>; readonly responder?: Partial<HandshakeOptions>; readonly other?: CryptoProvider } = {}): Pair {
  const suite = suiteOf(suiteNumber)!
  const other = change.other ?? provider
  const common = { pattern: suite.pattern, protocolName: suite.name, prologue: utf8('prologue') }
  const initiatorStatic = change.initiator?.s ?? provider.x25519Generate()
  const responderStatic = change.responder?.s ?? other.x25519Generate()
  const rs = suite.family === 'IK' ? responderStatic.publicKey : undefined
  return {
    initiator: new HandshakeState(provider, { ...common, role: 'initiator', s: initiatorStatic, rs, ...change.initiator }),
    responder: new HandshakeState(other, { ...common, role: 'responder', s: responderStatic, ...change.responder }),
    initiatorStatic,
    responderStatic,
  }
}
