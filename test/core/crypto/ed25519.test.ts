import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareBytes, equalBytes } from '../../../src/core/base/bytes.ts'
import { idToX25519, validateId } from '../../../src/core/crypto/ed25519.ts'
import { bytes, hex, repeated } from '../../support/bytes.ts'
import { node, noble, providers } from '../../support/providers.ts'

const { Point } = ed25519
const ID = hex('8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c')
const torsion = ED25519_TORSION_SUBGROUP.map((text) => Point.fromHex(text)).filter((point) => !point.is0())

describe('validateId (WIRE.md §2)', () => {
  it('accepts the public key of any seed', () => {
    fc.assert(fc.property(bytes(32), (seed) => validateId(noble.ed25519Public(seed))), { numRuns: 20 })
  })

  it('accepts −A, whose u form is that of A: the sign is lost in the map', () => {
    const negative = Point.fromBytes(ID).negate().toBytes()
    expect(equalBytes(negative, ID)).toBe(false)
    expect(validateId(negative)).toBe(true)
    expect(idToX25519(negative)).toEqual(idToX25519(ID))
  })

  it('refuses A + T for all seven torsion points, though X25519 cannot tell them from A', () => {
    expect(torsion).toHaveLength(7)
    const own = noble.x25519FromPrivate(repeated(5))
    const agreed = noble.x25519(own.privateKey, noble.x25519Import(idToX25519(ID)))
    for (const point of torsion) {
      const alias = Point.fromBytes(ID).add(point).toBytes()
      expect(validateId(alias)).toBe(false)
      expect(idToX25519(alias)).not.toEqual(idToX25519(ID))
      expect(noble.x25519(own.privateKey, noble.x25519Import(idToX25519(alias)))).toEqual(agreed)
    }
  })

  it('refuses the eight points of small order, whatever their sign bit', () => {
    for (const text of ED25519_TORSION_SUBGROUP) {
      const id = hex(text)
      expect(validateId(id)).toBe(false)
      id[31]! ^= 0x80
      expect(validateId(id)).toBe(false)
    }
  })

  it('refuses y ≥ p, with and without the sign bit', () => {
    // p = 2^255 − 19: y = p … 2^255 − 1 are the nineteen second spellings of 0 … 18.
    for (let low = 0xed; low <= 0xff; low++) {
      const id = hex(`${low.toString(16)}${'ff'.repeat(30)}7f`)
      expect(validateId(id)).toBe(false)
      id[31] = 0xff
      expect(validateId(id)).toBe(false)
    }
  })

  it('refuses x = 0 with the sign bit, wrong lengths, and bytes that are no point', () => {
    expect(validateId(hex(`01${'00'.repeat(30)}80`))).toBe(false)
    expect(validateId(hex(`ec${'ff'.repeat(31)}`))).toBe(false)
    expect(validateId(ID.subarray(0, 31))).toBe(false)
    expect(validateId(new Uint8Array(33))).toBe(false)
    expect(validateId(hex(`02${'00'.repeat(31)}`))).toBe(false)
  })

  it('takes any 32 bytes, and lets through about one in sixteen', () => {
    let valid = 0
    for (let i = 0; i < 400; i++) if (validateId(noble.sha256(Uint8Array.of(i, i >> 8)))) valid++
    expect(valid).toBeGreaterThan(8)
    expect(valid).toBeLessThan(60)
  })
})

describe.each(providers)('ids with %s', (_name, provider) => {
  it('have the X25519 form of the converted private key', () => {
    fc.assert(fc.property(bytes(32), (seed) => {
      const secret = provider.sha512(seed).subarray(0, 32)
      return compareBytes(provider.x25519FromPrivate(secret).publicKey, provider.idToX25519(provider.ed25519Public(seed))) === 0
    }), { numRuns: 10 })
  })
})

describe('ed25519Verify', () => {
  const seed = repeated(9)
  const id = node.ed25519Public(seed)
  const message = hex('706f737465726e')
  const signature = node.ed25519Sign(seed, message)

  it('refuses S + L: a signature has one spelling', () => {
    const s = BigInt(`0x${[...signature.subarray(32)].reverse().map((b) => b.toString(16).padStart(2, '0')).join('')}`) + Point.Fn.ORDER
    const malleable = signature.slice()
    for (let i = 0; i < 32; i++) malleable[32 + i] = Number((s >> BigInt(8 * i)) & 0xffn)
    for (const [, provider] of providers) {
      expect(provider.ed25519Verify(id, message, signature)).toBe(true)
      expect(provider.ed25519Verify(id, message, malleable)).toBe(false)
    }
  })

  it('answers alike for any change of key, message or signature', () => {
    fc.assert(fc.property(fc.nat({ max: 511 }), fc.nat({ max: 255 }), fc.boolean(), (signatureBit, idBit, inId) => {
      const [changedId, changedSignature] = [id.slice(), signature.slice()]
      if (inId) changedId[idBit >> 3]! ^= 1 << (idBit & 7)
      else changedSignature[signatureBit >> 3]! ^= 1 << (signatureBit & 7)
      return !node.ed25519Verify(changedId, message, changedSignature) && !noble.ed25519Verify(changedId, message, changedSignature)
    }), { numRuns: 40 })
    for (const [, provider] of providers) {
      expect(provider.ed25519Verify(id, message, signature.subarray(1))).toBe(false)
      expect(provider.ed25519Verify(id, message, new Uint8Array(64))).toBe(false)
    }
  })

  it('refuses, as OpenSSL does, a signature that only holds up to the cofactor', () => {
    // R' = R + T with S computed for the changed challenge: 8·(S·B − R' − k·A) = 0, but not without the 8.
    const scalar = Point.Fn.create(littleEndian(clamped(noble.sha512(seed).slice(0, 32))))
    const nonce = 12345n
    const r = Point.BASE.multiply(nonce).add(torsion[0]!).toBytes()
    const challenge = noble.sha512(new Uint8Array([...r, ...id, ...message]))
    const s = Point.Fn.add(nonce, Point.Fn.mul(Point.Fn.create(littleEndian(challenge)), scalar))
    const forged = new Uint8Array(64)
    forged.set(r)
    for (let i = 0; i < 32; i++) forged[32 + i] = Number((s >> BigInt(8 * i)) & 0xffn)
    expect(ed25519.verify(forged, message, id)).toBe(true)
    for (const [, provider] of providers) expect(provider.ed25519Verify(id, message, forged)).toBe(false)
  })
})

function clamped(secret: Uint8Array): Uint8Array {
  secret[0]! &= 248
  secret[31] = (secret[31]! & 127) | 64
  return secret
}

function littleEndian(input: Uint8Array): bigint {
  return input.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n)
}
