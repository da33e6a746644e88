/** The handshake inside a session with real cryptography (WIRE.md §3.11). */
import { describe, expect, it } from 'vitest'
import type { CryptoProvider } from '../../../src/core/crypto/provider.ts'
import { Identity } from '../../../src/core/session/identity.ts'
import { answerRekey, RekeyInitiation, type RekeyPayload, type RekeySession } from '../../../src/core/session/rekey.ts'
import { suiteOf } from '../../../src/core/session/suites.ts'
import { LIMITS_DEFAULT } from '../../../src/core/wire/handshake-payload.ts'
import { repeated } from '../../support/bytes.ts'
import { providers } from '../../support/providers.ts'

function payload(index: number): RekeyPayload {
  return { status: 0, suites: 2, caps: 0, index, tai64n: new Uint8Array(12), limits: LIMITS_DEFAULT, invite: undefined, extensions: [], resetToken: repeated(index, 16) }
}

/** Both ends of one session: the same ids and sids, seen from either side. */
function ends(one: CryptoProvider, other: CryptoProvider = one): { a: RekeySession; b: RekeySession } {
  const [idA, idB] = [new Identity(one, repeated(1)), new Identity(other, repeated(2))]
  const view = (provider: CryptoProvider, identity: Identity, peer: Identity, sidSelf: Uint8Array, sidPeer: Uint8Array): RekeySession => ({
    provider, identity, suite: suiteOf(1)!, peerId: peer.id, peerStatic: peer.staticKeyPair.publicKey, sidSelf, sidPeer,
  })
  return { a: view(one, idA, idB, repeated(3, 8), repeated(4, 8)), b: view(other, idB, idA, repeated(4, 8), repeated(3, 8)) }
}

describe.each(providers)('a rekey, %s', (_name, provider) => {
  it('gives both sides the same keys, other ones each time', () => {
    const { a, b } = ends(provider)
    const seen = new Set<string>()
    for (let i = 1; i <= 3; i++) {
      const initiation = new RekeyInitiation(a, payload(i))
      const answer = answerRekey(b, payload(100 + i), initiation.message, i)
      if (typeof answer === 'string') throw new Error(answer)
      const result = initiation.readResponse(answer.message, 100 + i)
      if (typeof result === 'string') throw new Error(result)
      expect(result.keys).toEqual(answer.keys)
      expect([result.payload.resetToken, answer.payload.resetToken]).toEqual([repeated(100 + i, 16), repeated(i, 16)])
      seen.add(result.keys.initiatorKey.join()).add(result.keys.responderKey.join())
    }
    expect(seen.size).toBe(6)
  })

  it('is of one session: another sid, another peer, or a handshake from outside does not read', () => {
    const { a, b } = ends(provider)
    const { message } = new RekeyInitiation(a, payload(1))
    expect(answerRekey({ ...b, sidSelf: repeated(9, 8) }, payload(2), message, 1)).toBe('noise')
    expect(answerRekey({ ...b, sidPeer: repeated(9, 8) }, payload(2), message, 1)).toBe('noise')
    const stranger = new Identity(provider, repeated(5))
    expect(answerRekey({ ...b, peerId: stranger.id, peerStatic: stranger.staticKeyPair.publicKey }, payload(2), message, 1)).toBe('noise')
    expect(answerRekey(b, payload(2), message, 7)).toBe('refused')
  })

  it('our own A is no A to us, and no B', () => {
    const { a } = ends(provider)
    const initiation = new RekeyInitiation(a, payload(1))
    expect([answerRekey(a, payload(2), initiation.message, 1), initiation.readResponse(initiation.message, 1)]).toEqual(['noise', 'noise'])
  })

  it('any changed bit of B fails, and the true B is still good', () => {
    const { a, b } = ends(provider)
    const initiation = new RekeyInitiation(a, payload(1))
    const answer = answerRekey(b, payload(2), initiation.message, 1)
    if (typeof answer === 'string') throw new Error(answer)
    for (let i = 0; i < answer.message.length; i += 7) {
      const changed = answer.message.slice()
      changed[i]! ^= 1 << (i % 8)
      expect(initiation.readResponse(changed, 2)).toBe('noise')
    }
    expect(initiation.readResponse(answer.message.subarray(1), 2)).toBe('noise')
    expect(initiation.readResponse(answer.message, 2)).toMatchObject({ keys: answer.keys })
  })
})
