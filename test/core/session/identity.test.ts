import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { CryptoProvider } from '../../../src/core/crypto/provider.ts'
import { isAllZero } from '../../../src/core/base/bytes.ts'
import { Identity, IdValidator } from '../../../src/core/session/identity.ts'
import { HandshakeState } from '../../../src/core/session/noise.ts'
import { suiteOf } from '../../../src/core/session/suites.ts'
import { decodePeerId } from '../../../src/core/wire/peer-id.ts'
import { NodeCryptoProvider } from '../../../src/platform/node-crypto-provider.ts'
import { bytes, repeated } from '../../support/bytes.ts'
import { node, noble } from '../../support/providers.ts'

/** Counts how often an id is really validated. */
class CountingProvider extends NodeCryptoProvider {
  validations = 0

  override validateId(id: Uint8Array): boolean {
    this.validations++
    return super.validateId(id)
  }
}

describe('Identity (WIRE.md §2)', () => {
  it('is the same with every provider, and agrees with its own X25519 form', () => {
    fc.assert(fc.property(bytes(32), (seed) => {
      const [one, other] = [new Identity(node, seed), new Identity(noble, seed)]
      expect([one.id, one.text, one.staticKeyPair.publicKey]).toEqual([other.id, other.text, other.staticKeyPair.publicKey])
      expect(decodePeerId(one.text)).toEqual(one.id)
      expect(one.staticKeyPair.publicKey).toEqual(node.idToX25519(one.id))
    }), { numRuns: 10 })
  })

  it('leaves the seed to its owner', () => {
    const seed = repeated(3)
    new Identity(node, seed)
    expect(seed).toEqual(repeated(3))
    expect(() => new Identity(node, repeated(3, 31))).toThrow('32 bytes')
  })
})

describe('the DH of both statics', () => {
  /** Counts what is really computed. */
  class Exchanges extends NodeCryptoProvider {
    count = 0

    override x25519(...keys: Parameters<NodeCryptoProvider['x25519']>): Uint8Array | undefined {
      this.count++
      return super.x25519(...keys)
    }
  }

  it('is the same from both sides, and computed once', () => {
    const provider = new Exchanges()
    const [one, other] = [new Identity(provider, repeated(1)), new Identity(node, repeated(2))]
    const secret = one.agree(other.staticKeyPair.publicKey, undefined)
    expect(secret).toEqual(other.agree(one.staticKeyPair.publicKey, node.x25519Import(one.staticKeyPair.publicKey)))
    expect([one.agree(other.staticKeyPair.publicKey.slice(), undefined), provider.count]).toEqual([secret, 1])
    expect(one.agree(new Uint8Array(32), undefined)).toBeUndefined()
  })

  it('is remembered of 1024 peers: the one made first is overwritten', () => {
    const provider = new Exchanges()
    const identity = new Identity(provider, repeated(1))
    const peers = Array.from({ length: 1025 }, () => provider.x25519Generate().publicKey)
    const secrets = peers.map((peer) => identity.agree(peer, undefined)!)
    expect([isAllZero(secrets[0]!), secrets.slice(1).some(isAllZero), provider.count]).toEqual([true, false, 1025])
    identity.agree(peers[1024]!, undefined)
    identity.agree(peers[0]!, undefined)
    expect(provider.count).toBe(1026)
  })

  it('survives the handshake that used it', () => {
    const identities = [new Identity(node, repeated(1)), new Identity(node, repeated(2))] as const
    const [initiator, responder] = identities
    for (let i = 0; i < 2; i++) {
      const pattern = suiteOf(1)!.pattern
      const a = new HandshakeState(node, { pattern, protocolName: 'x', role: 'initiator', prologue: repeated(0), ...initiator.noise, rs: responder.staticKeyPair.publicKey })
      const b = new HandshakeState(node, { pattern, protocolName: 'x', role: 'responder', prologue: repeated(0), ...responder.noise })
      expect(b.readMessage(a.writeMessage(repeated(5))!)).toEqual({ kind: 'message', payload: repeated(5) })
      expect(a.readMessage(b.writeMessage(repeated(6))!)).toEqual({ kind: 'message', payload: repeated(6) })
      expect(a.split()).toEqual(b.split())
    }
  })
})

describe('IdValidator', () => {
  const ids = Array.from({ length: 6 }, (_, i) => node.ed25519Public(repeated(i + 1)))

  it('gives the X25519 form of valid ids and nothing for the others', () => {
    const validator = new IdValidator(node)
    expect(validator.x25519Of(ids[0]!)).toEqual(node.idToX25519(ids[0]!))
    const alias = ed25519.Point.fromBytes(ids[0]!).add(ed25519.Point.fromHex(ED25519_TORSION_SUBGROUP[3]!)).toBytes()
    expect(validator.x25519Of(alias)).toBeUndefined()
    expect(validator.x25519Of(new Uint8Array(32))).toBeUndefined()
    expect(validator.x25519Of(ed25519.Point.fromBytes(ids[0]!).negate().toBytes())).toEqual(node.idToX25519(ids[0]!))
  })

  it('computes once, for refused ids too', () => {
    const provider = new CountingProvider()
    const validator = new IdValidator(provider)
    for (const id of [ids[0]!, new Uint8Array(32), ids[0]!, new Uint8Array(32)]) validator.x25519Of(id.slice())
    expect([provider.validations, validator.size, validator.isCached(ids[0]!), validator.isCached(ids[1]!)]).toEqual([2, 2, true, false])
  })

  it('forgets the id that was asked for longest ago', () => {
    const provider = new CountingProvider()
    const validator = new IdValidator(provider, 3)
    const ask = (index: number): void => { validator.x25519Of(ids[index]!) }
    for (const index of [0, 1, 2, 0, 3]) ask(index)
    expect([0, 1, 2, 3].map((index) => validator.isCached(ids[index]!))).toEqual([true, false, true, true])
    ask(1)
    expect([validator.size, provider.validations]).toEqual([3, 5])
  })

  it('is bounded at 4096 by default', () => {
    const instant: CryptoProvider = new Proxy(node, { get: (target, name) => name === 'validateId' ? () => false : Reflect.get(target, name) as unknown })
    const validator = new IdValidator(instant)
    for (let i = 0; i < 5000; i++) validator.x25519Of(Uint8Array.from({ length: 32 }, (_, at) => at === 0 ? i & 0xff : at === 1 ? i >> 8 : 0))
    expect(validator.size).toBe(4096)
  })
})
