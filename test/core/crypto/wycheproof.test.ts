import { describe, expect, it } from 'vitest'
import { concat, isAllZero } from '../../../src/core/base/bytes.ts'
import { hkdfExpand, hkdfExtract } from '../../../src/core/crypto/hkdf.ts'
import { hex } from '../../support/bytes.ts'
import { providers } from '../../support/providers.ts'
import { readVectors } from '../../support/vectors.ts'

interface Wycheproof<Group, Test> {
  readonly numberOfTests: number
  readonly testGroups: readonly (Group & { readonly tests: readonly Test[] })[]
}
interface Verdict { readonly tcId: number; readonly result: 'valid' | 'invalid' | 'acceptable' }
interface XdhTest extends Verdict { readonly public: string; readonly private: string; readonly shared: string }
interface AeadTest extends Verdict { readonly key: string; readonly iv: string; readonly aad: string; readonly msg: string; readonly ct: string; readonly tag: string }
interface HkdfTest extends Verdict { readonly ikm: string; readonly salt: string; readonly info: string; readonly size: number; readonly okm: string }

const xdh = readVectors('wycheproof-x25519_test.json') as Wycheproof<object, XdhTest> | undefined
const aead = readVectors('wycheproof-chacha20_poly1305_test.json') as Wycheproof<{ readonly ivSize: number }, AeadTest> | undefined
const hkdf = readVectors('wycheproof-hkdf_sha256_test.json') as Wycheproof<object, HkdfTest> | undefined

describe.each(providers)('Wycheproof with %s', (_name, provider) => {
  it.skipIf(xdh === undefined)('X25519: every shared secret, and none where it is all zero', () => {
    let count = 0
    let zero = 0
    for (const test of xdh!.testGroups.flatMap((group) => group.tests)) {
      const own = provider.x25519FromPrivate(hex(test.private))
      const shared = provider.x25519(own.privateKey, provider.x25519Import(hex(test.public)))
      const expected = hex(test.shared)
      if (isAllZero(expected)) {
        expect(shared, `test ${test.tcId}`).toBeUndefined()
        zero++
      } else {
        expect(shared, `test ${test.tcId}`).toEqual(expected)
      }
      count++
    }
    expect(count).toBe(xdh!.numberOfTests)
    expect(zero).toBe(31)
  })

  it.skipIf(aead === undefined)('ChaCha20-Poly1305: seals the valid ones, opens no invalid one', () => {
    let count = 0
    let unsupported = 0
    for (const group of aead!.testGroups) {
      for (const test of group.tests) {
        if (group.ivSize !== 96) {
          // Nonces of another size than 12 bytes: our nonce is a counter, its length never varies.
          unsupported++
          continue
        }
        const [key, nonce, associated, message] = [hex(test.key), hex(test.iv), hex(test.aad), hex(test.msg)]
        const sealed = concat(hex(test.ct), hex(test.tag))
        const opened = provider.open(key, nonce, associated, sealed)
        if (test.result === 'valid') {
          expect(opened, `test ${test.tcId}`).toEqual(message)
          expect(provider.seal(key, nonce, associated, message), `test ${test.tcId}`).toEqual(sealed)
        } else {
          expect(opened, `test ${test.tcId}`).toBeUndefined()
        }
        count++
      }
    }
    expect(unsupported).toBe(9)
    expect(count + unsupported).toBe(aead!.numberOfTests)
  })

  it.skipIf(hkdf === undefined)('HKDF-SHA-256, and refusal of more than 255 blocks', () => {
    let count = 0
    for (const test of hkdf!.testGroups.flatMap((group) => group.tests)) {
      const derive = (): Uint8Array => hkdfExpand(provider, hkdfExtract(provider, hex(test.salt), hex(test.ikm)), hex(test.info), test.size)
      if (test.result === 'valid') expect(derive(), `test ${test.tcId}`).toEqual(hex(test.okm))
      else expect(derive, `test ${test.tcId}`).toThrow('at most 255 blocks')
      count++
    }
    expect(count).toBe(hkdf!.numberOfTests)
  })
})
