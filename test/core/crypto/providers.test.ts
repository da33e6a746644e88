import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AeadBatch } from '../../../src/core/crypto/aead-batch.ts'
import { noiseHkdf2, noiseHkdf3 } from '../../../src/core/crypto/hkdf.ts'
import { concat } from '../../../src/core/base/bytes.ts'
import type { CryptoProvider } from '../../../src/core/crypto/provider.ts'
import { bytes, mutations, repeated } from '../../support/bytes.ts'
import { node, noble, providers } from '../../support/providers.ts'

/** All providers, one answer. */
function agree<T>(run: (provider: CryptoProvider) => T): T {
  const answer = run(node)
  for (const [name, provider] of providers) expect(run(provider), name).toEqual(answer)
  return answer
}

const counters = fc.oneof(fc.nat({ max: 2 ** 31 - 1 }), fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 48, Number.MAX_SAFE_INTEGER))

describe('all providers give the same bytes', () => {
  it('sha256, sha512 and hmac of any parts, keys up to and beyond a block', () => {
    fc.assert(fc.property(bytes(0, 200), fc.array(bytes(0, 300), { maxLength: 5 }), (key, parts) => {
      agree((provider) => [provider.sha256(...parts), provider.hmac(key, ...parts), provider.hmacSha1(key, ...parts), provider.sha512(concat(...parts))])
    }))
  })

  it('sha256 and hmac around and above the size that is gathered', () => {
    for (const size of [0, 1, 4031, 4032, 4095, 4096, 4097, 10_000]) {
      const input = repeated(size & 0xff, size)
      agree((provider) => [provider.sha256(input), provider.sha256(input, input), provider.hmac(repeated(1), input), provider.hmac(repeated(1), input, repeated(2, 7))])
    }
  })

  it('Noise HKDF', () => {
    fc.assert(fc.property(bytes(32), bytes(0, 64), (chainingKey, keyMaterial) => {
      const [first, second] = agree((provider) => noiseHkdf2(provider, chainingKey, keyMaterial))
      expect(agree((provider) => noiseHkdf3(provider, chainingKey, keyMaterial)).slice(0, 2)).toEqual([first, second])
    }), { numRuns: 30 })
  })

  it('x25519 of any secret and any point', () => {
    fc.assert(fc.property(bytes(32), bytes(32), (secret, point) => {
      agree((provider) => {
        const pair = provider.x25519FromPrivate(secret)
        return [pair.publicKey, provider.x25519(pair.privateKey, provider.x25519Import(point))]
      })
    }), { numRuns: 25 })
  })

  it('ids, signatures and their X25519 forms', () => {
    fc.assert(fc.property(bytes(32), bytes(0, 100), (seed, message) => {
      agree((provider) => {
        const id = provider.ed25519Public(seed)
        const signature = provider.ed25519Sign(seed, message)
        return [id, signature, provider.ed25519Verify(id, message, signature), provider.validateId(id), provider.idToX25519(id)]
      })
    }), { numRuns: 10 })
  })

  it('one-shot seal and open, also of changed boxes', () => {
    fc.assert(fc.property(bytes(32), bytes(12), bytes(0, 40), bytes(0, 300), (key, nonce, associated, plaintext) => {
      const sealed = agree((provider) => provider.seal(key, nonce, associated, plaintext))
      expect(agree((provider) => provider.open(key, nonce, associated, sealed))).toEqual(plaintext)
      fc.assert(fc.property(mutations(sealed), (changed) => {
        agree((provider) => provider.open(key, nonce, associated, changed))
      }), { numRuns: 3 })
    }), { numRuns: 60 })
  })

  it('sealBatch and openBatch: rows of several keys, tampered rows and only those refused', () => {
    const row = fc.record({ key: fc.nat({ max: 2 }), counter: counters, length: fc.oneof(fc.integer({ min: 0, max: 1500 }), fc.integer({ min: 2030, max: 2070 })), tamper: fc.option(fc.nat()) })
    fc.assert(fc.property(fc.array(row, { minLength: 1, maxLength: 12 }), bytes(32), (rows, seed) => {
      const sealed = agree((provider) => seal(provider, rows, seed))
      rows.forEach(({ length, tamper }, i) => {
        if (tamper !== null) sealed[offsetOf(i) + tamper % (length + 16)]! ^= 1 << (tamper & 7)
      })
      const opened = agree((provider) => open(provider, rows, seed, sealed))
      const plain = plaintext(rows)
      rows.forEach(({ length, tamper }, i) => {
        expect(opened.lengths[i]).toBe(tamper === null ? length : -1)
        if (tamper === null) expect(opened.views[i]).toEqual(plain.slice(offsetOf(i), offsetOf(i) + length))
      })
    }), { numRuns: 40 })
  })
})

interface Row { readonly key: number; readonly counter: number; readonly length: number; readonly tamper: number | null }

function offsetOf(row: number): number {
  return 7 + row * 2100
}

function plaintext(rows: readonly Row[]): Uint8Array {
  return Uint8Array.from({ length: offsetOf(rows.length) }, (_, i) => (i * 31) & 0xff)
}

function batchOf(provider: CryptoProvider, rows: readonly Row[], seed: Uint8Array): AeadBatch {
  const slots = [0, 1, 2].map((i) => provider.addKey(noble.sha256(seed, Uint8Array.of(i))))
  const batch = new AeadBatch(rows.length)
  rows.forEach(({ key, counter, length }, i) => batch.push(slots[key]!, counter, offsetOf(i), length))
  return batch
}

function seal(provider: CryptoProvider, rows: readonly Row[], seed: Uint8Array): Uint8Array {
  const slab = plaintext(rows)
  const batch = batchOf(provider, rows, seed)
  provider.sealBatch(slab, batch)
  for (const slot of new Set(batch.key)) provider.removeKey(slot)
  return slab
}

function open(provider: CryptoProvider, rows: readonly Row[], seed: Uint8Array, sealed: Uint8Array): { lengths: number[]; views: (Uint8Array | undefined)[] } {
  const slab = sealed.slice()
  const batch = batchOf(provider, rows, seed)
  provider.openBatch(slab, batch)
  const lengths = [...batch.length]
  // What is left of a refused row is unspecified, so it is not compared.
  return { lengths, views: lengths.map((length, i) => length < 0 ? undefined : slab.slice(offsetOf(i), offsetOf(i) + length)) }
}

describe.each(providers)('the contract with %s', (_name, provider) => {
  it('seals as the one-shot call does, under 00000000 | counter and without associated data', () => {
    const slot = provider.addKey(repeated(7))
    const batch = new AeadBatch(1)
    batch.push(slot, 2 ** 32 + 5, 3, 64)
    const slab = new Uint8Array(100)
    provider.sealBatch(slab, batch)
    const nonce = Uint8Array.of(0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0)
    expect(slab.slice(3, 83)).toEqual(provider.seal(repeated(7), nonce, new Uint8Array(0), new Uint8Array(64)))
    expect(slab.slice(0, 3)).toEqual(new Uint8Array(3))
    expect(slab.slice(83)).toEqual(new Uint8Array(17))
  })

  it('rows of every length around the borders of blocks, and where the way of sealing changes, neither read nor change what is beside them', () => {
    const slot = provider.addKey(repeated(7))
    for (const length of [0, 1, 15, 16, 17, 63, 64, 65, 112, 127, 128, 1151, 1152, 2047, 2048, 2049, 2112, 16_320]) {
      const slab = repeated(5, 200 + length)
      const expected = provider.seal(repeated(7), new Uint8Array(12), new Uint8Array(0), slab.slice(90, 90 + length))
      const batch = new AeadBatch(1)
      batch.push(slot, 0, 90, length)
      provider.sealBatch(slab, batch)
      expect(slab.slice(90, 106 + length), `${length}`).toEqual(expected)
      expect([slab.slice(0, 90), slab.slice(106 + length)], `${length}`).toEqual([repeated(5, 90), repeated(5, 94)])
      provider.openBatch(slab, batch)
      expect(slab.slice(90, 90 + length), `${length}`).toEqual(repeated(5, length))
    }
    provider.removeKey(slot)
  })

  it('copies a key it takes over, gives freed slots out again, and refuses to use a removed one', () => {
    const key = repeated(1)
    const slot = provider.addKey(key)
    key.fill(0)
    const batch = new AeadBatch(1)
    batch.push(slot, 0, 0, 16)
    const slab = new Uint8Array(32)
    provider.sealBatch(slab, batch)
    expect(slab.subarray(0, 16)).toEqual(provider.seal(repeated(1), new Uint8Array(12), new Uint8Array(0), new Uint8Array(16)).subarray(0, 16))
    provider.removeKey(slot)
    expect(() => provider.sealBatch(slab, batch)).toThrow('key slot')
    expect(() => provider.removeKey(slot)).toThrow('key slot')
    expect(provider.addKey(repeated(2))).toBe(slot)
    provider.removeKey(slot)
  })

  it('generates different key pairs that agree', () => {
    const [one, other] = [provider.x25519Generate(), provider.x25519Generate()]
    expect(one.publicKey).not.toEqual(other.publicKey)
    expect(provider.x25519(one.privateKey, provider.x25519Import(other.publicKey))).toEqual(provider.x25519(other.privateKey, provider.x25519Import(one.publicKey)))
  })

  it('hands out plain arrays, never a Buffer, whose slice would share memory', () => {
    const pair = provider.x25519FromPrivate(repeated(4))
    const sealed = provider.seal(repeated(1), new Uint8Array(12), repeated(2), repeated(3))
    const results = [
      provider.sha256(repeated(1)), provider.sha256(repeated(1), repeated(2)), provider.hmac(repeated(1), repeated(2)), provider.hmac(repeated(1), repeated(2, 5000)),
      provider.sha512(repeated(1)), pair.publicKey, provider.x25519Generate().publicKey, provider.x25519(pair.privateKey, provider.x25519Import(pair.publicKey)),
      provider.ed25519Public(repeated(1)), provider.ed25519Sign(repeated(1), repeated(2)), sealed, provider.open(repeated(1), new Uint8Array(12), repeated(2), sealed),
      provider.random(new Uint8Array(8)), provider.idToX25519(provider.ed25519Public(repeated(1))),
    ]
    for (const result of results) expect(Object.getPrototypeOf(result)).toBe(Uint8Array.prototype)
  })

  it('leaves its inputs alone', () => {
    const inputs = [repeated(1), repeated(2), repeated(3, 12)] as const
    provider.hmac(inputs[0], inputs[1])
    provider.sha256(inputs[0], inputs[1])
    provider.seal(inputs[0], inputs[2], inputs[1], inputs[1])
    provider.x25519FromPrivate(inputs[0])
    provider.ed25519Sign(inputs[0], inputs[1])
    expect(inputs).toEqual([repeated(1), repeated(2), repeated(3, 12)])
  })

  it('states what its operations cost', () => {
    for (const cost of Object.values(provider.costs)) expect(cost).toBeGreaterThan(0)
  })
})
