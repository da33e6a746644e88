import { createSecretKey, type KeyObject } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { concat } from '../../src/core/base/bytes.ts'
import { createSealer, hkdf, openSealed, pbkdf2Sha256 } from '../../src/store/sealing.ts'
import { hex } from '../support/bytes.ts'
import { readVectors } from '../support/vectors.ts'

interface AeadGroup { ivSize: number; tests: { tcId: number; key: string; iv: string; aad: string; msg: string; ct: string; tag: string; result: string }[] }
interface Pbkdf2Group { tests: { tcId: number; password: string; salt: string; iterationCount: number; dkLen: number; dk: string; result: string }[] }
interface HkdfGroup { tests: { tcId: number; ikm: string; salt: string; info: string; size: number; okm: string; result: string }[] }

const secret = (text: string): KeyObject => createSecretKey(hex(text))

/** In pieces, because that is how a file is sealed. */
function seal(key: KeyObject, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const sealer = createSealer(key, nonce, associated)
  const cut = Math.floor(plaintext.length / 3)
  return concat(sealer.update(plaintext.subarray(0, cut)), sealer.update(plaintext.subarray(cut)), sealer.final())
}

describe('published vectors', () => {
  const gcm = readVectors('wycheproof-aes_gcm_test.json') as { numberOfTests: number; testGroups: AeadGroup[] } | undefined
  it.skipIf(gcm === undefined)('Wycheproof AES-GCM', () => {
    let checked = 0
    let unsupported = 0
    for (const group of gcm!.testGroups) {
      for (const test of group.tests) {
        const [key, nonce, associated, plaintext, ciphertext, tag] = [secret(test.key), hex(test.iv), hex(test.aad), hex(test.msg), hex(test.ct), hex(test.tag)]
        if (group.ivSize === 2056) {
          // OpenSSL takes nonces of up to 1024 bits.
          expect(() => createSealer(key, nonce, associated)).toThrow()
          unsupported++
        } else if (group.ivSize === 0) {
          expect(test.result).toBe('invalid')
          expect(() => openSealed(key, nonce, associated, ciphertext, tag)).toThrow()
          checked++
        } else {
          const isValid = test.result !== 'invalid'
          expect(openSealed(key, nonce, associated, ciphertext, tag), `case ${test.tcId}`).toEqual(isValid ? plaintext : undefined)
          if (isValid) expect(seal(key, nonce, associated, plaintext), `case ${test.tcId}`).toEqual(concat(ciphertext, tag))
          checked++
        }
      }
    }
    expect({ checked, unsupported }).toEqual({ checked: gcm!.numberOfTests - 3, unsupported: 3 })
  })

  const stretching = readVectors('wycheproof-pbkdf2_hmacsha256_test.json') as { numberOfTests: number; testGroups: Pbkdf2Group[] } | undefined
  it.skipIf(stretching === undefined)('Wycheproof PBKDF2-HMAC-SHA-256', async () => {
    let checked = 0
    for (const test of stretching!.testGroups.flatMap((group) => group.tests)) {
      expect(test.result).toBe('valid')
      expect(await pbkdf2Sha256(hex(test.password), hex(test.salt), test.iterationCount, test.dkLen), `case ${test.tcId}`).toEqual(hex(test.dk))
      checked++
    }
    expect(checked).toBe(stretching!.numberOfTests)
  })

  const derivation = readVectors('wycheproof-hkdf_sha256_test.json') as { numberOfTests: number; testGroups: HkdfGroup[] } | undefined
  it.skipIf(derivation === undefined)('Wycheproof HKDF-SHA-256', () => {
    let checked = 0
    for (const test of derivation!.testGroups.flatMap((group) => group.tests)) {
      const derive = (): Uint8Array => hkdf(secret(test.ikm), hex(test.salt), hex(test.info), test.size)
      if (test.result === 'valid') expect(derive(), `case ${test.tcId}`).toEqual(hex(test.okm))
      else expect(derive, `case ${test.tcId}`).toThrow()
      checked++
    }
    expect(checked).toBe(derivation!.numberOfTests)
  })
})

describe('AES-GCM', () => {
  it('gives no plaintext when anything was altered', () => {
    const key = secret('01'.repeat(32))
    const [nonce, associated, plaintext] = [new Uint8Array(12).fill(2), new Uint8Array(20).fill(3), new Uint8Array(100).fill(4)]
    const sealed = seal(key, nonce, associated, plaintext)
    const open = (a: Uint8Array, s: Uint8Array): Uint8Array | undefined => openSealed(key, nonce, a, s.subarray(0, 100), s.subarray(100))
    expect(open(associated, sealed)).toEqual(plaintext)
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const altered = sealed.slice()
      altered[bit >> 3]! ^= 1 << (bit & 7)
      expect(open(associated, altered)).toBeUndefined()
    }
    expect(open(associated.subarray(1), sealed)).toBeUndefined()
  })

  it('hands out bytes that no pool shares', () => {
    const sealed = seal(secret('01'.repeat(32)), new Uint8Array(12), new Uint8Array(0), new Uint8Array(10))
    expect(sealed.slice().buffer).not.toBe(sealed.buffer)
    expect(Buffer.isBuffer(openSealed(secret('01'.repeat(32)), new Uint8Array(12), new Uint8Array(0), sealed.subarray(0, 10), sealed.subarray(10)))).toBe(false)
  })
})
