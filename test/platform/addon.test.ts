import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isAllZero } from '../../src/core/base/bytes.ts'
import { Pieces } from '../../src/core/base/pieces.ts'
import { AeadBatch } from '../../src/core/crypto/aead-batch.ts'
import { noiseHkdf2 } from '../../src/core/crypto/hkdf.ts'
import { loadAddon, prebuildName, type AddonCrypto } from '../../src/platform/addon.ts'
import { NativeCryptoProvider } from '../../src/platform/native-crypto-provider.ts'
import { NodeCryptoProvider } from '../../src/platform/node-crypto-provider.ts'
import { addon } from '../support/addon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { repeated } from '../support/bytes.ts'

describe('loadAddon', () => {
  it('is switched off by the environment, with the reason', () => {
    expect(loadAddon({ POSTERN_NATIVE: '0' })).toEqual({ kind: 'absent', reason: 'switched off by POSTERN_NATIVE=0' })
  })
})

describe('prebuildName', () => {
  it.skipIf(process.platform !== 'linux')('tells the C library that a node runs on by its program', () => {
    using temporary = new TemporaryDirectory()
    const plain = `linux-${process.arch}`
    for (const [interpreter, name] of [['/lib64/ld-linux-x86-64.so.2', plain], ['/lib/ld-musl-x86_64.so.1', `${plain}-musl`], ['', plain]] as const) {
      writeFileSync(temporary.join('node'), Buffer.concat([Buffer.from([0x7f, 0x45, 0x4c, 0x46]), Buffer.alloc(700), Buffer.from(`${interpreter}\0`), Buffer.alloc(9000)]))
      expect(prebuildName(temporary.join('node'))).toBe(name)
    }
    expect(prebuildName(temporary.join('none'))).toBe(plain)
  })
})

describe.skipIf(addon?.crypto === undefined)('the addon and what it is given', () => {
  const crypto = addon?.crypto as AddonCrypto
  const calls = [
    'aeadAddKey', 'aeadRemoveKey', 'aeadSealBatch', 'aeadOpenBatch', 'aeadSealOne', 'aeadOpenOne', 'x25519Generate', 'x25519FromPrivate', 'x25519Derive',
    'hashOpen', 'hashSha256', 'hashHmac', 'hashHkdf2',
  ] as const
  const none = new Int32Array(0)
  const noPieces = [new Int32Array(2), none, none, none] as const
  const value = fc.oneof(
    fc.constant(undefined), fc.constant(null), fc.integer(), fc.double(), fc.string(), fc.boolean(), fc.constant(NaN), fc.constant({}), fc.constant([]),
    fc.nat({ max: 80 }).map((size) => new Uint8Array(size)), fc.nat({ max: 8 }).map((size) => new Int32Array(size)), fc.nat({ max: 8 }).map((size) => new Float64Array(size)),
    fc.constant(new DataView(new ArrayBuffer(8))), fc.constant(new ArrayBuffer(8)), fc.constant(() => undefined), fc.bigInt(), fc.constant(Symbol('x')),
    fc.constant(0).map(() => crypto.aeadOpen()), fc.constant(0).map(() => crypto.x25519Open()), fc.constant(192).map((size) => crypto.hashOpen(new Uint8Array(size))), fc.constant(32).map((size) => new Uint8Array(size)),
    fc.constant(32).map((size) => crypto.x25519Generate(crypto.x25519Open(), new Uint8Array(size))),
  )

  it('any arguments: an answer or a TypeError', () => {
    fc.assert(fc.property(fc.constantFrom(...calls), fc.array(value, { maxLength: 12 }), (name, args) => {
      try {
        (crypto[name] as (...given: unknown[]) => unknown)(...args)
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError)
      }
    }), { numRuns: 3000 })
  })

  it('rows that do not lie in the slab, counters that are none, keys that are not there: nothing is done', () => {
    const aead = crypto.aeadOpen()
    const slot = crypto.aeadAddKey(aead, repeated(1))
    const wild = fc.oneof(fc.integer(), fc.constantFrom(0, 48, 49, 64, -1, 2 ** 31 - 1, -(2 ** 31)))
    fc.assert(fc.property(wild, wild, fc.oneof(fc.double(), fc.constantFrom(0, -1, NaN, Infinity, 2 ** 53)), fc.integer({ min: -2, max: 40 }), (offset, length, counter, key) => {
      const slab = new Uint8Array(64).fill(9)
      const good = new AeadBatch(2)
      good.push(slot, 1, 0, 8)
      good.push(key, counter, offset, length)
      const fits = key === slot && offset >= 0 && length >= 0 && offset + length + 16 <= 64 && counter >= 0 && counter < 2 ** 53
      for (const run of ['aeadSealBatch', 'aeadOpenBatch'] as const) {
        const result = crypto[run](aead, slab, 2, good.key, good.counter, good.offset, good.length, ...noPieces)
        expect(result === 0).toBe(fits)
        if (!fits) expect(slab).toEqual(new Uint8Array(64).fill(9))
        if (fits) return
      }
    }), { numRuns: 500 })
  })

  it('rows in pieces are sealed as if the pieces had been copied before', () => {
    const [native, plain] = [new NativeCryptoProvider(crypto), new NodeCryptoProvider()]
    const slots = [native.addKey(repeated(3)), plain.addKey(repeated(3))]
    const row = fc.record({ length: fc.oneof(fc.nat({ max: 200 }), fc.integer({ min: 1990, max: 2100 }), fc.integer({ min: 8100, max: 9000 })), cuts: fc.array(fc.tuple(fc.nat({ max: 40 }), fc.oneof(fc.nat({ max: 900 }), fc.integer({ min: 4000, max: 5000 }))), { maxLength: 5 }) })
    fc.assert(fc.property(fc.array(row, { maxLength: 6 }), (rows) => {
      const memory = Uint8Array.from({ length: 110_000 }, (_, i) => (i * 31) ^ (i >> 8))
      const twin = memory.slice()
      const batch = new AeadBatch(6, new Pieces(memory, 20))
      const whole = new AeadBatch(6)
      rows.forEach(({ length, cuts }, i) => {
        const offset = 13 + i * 9100
        let at = offset
        cuts.forEach(([gap, size], k) => {
          const to = at + gap
          const from = 60_000 + i * 7000 + k * 300
          at = to + size
          if (at > offset + length) return
          batch.pieces.put(to, from, size)
          twin.copyWithin(to, from, from + size)
        })
        batch.push(slots[0]!, i, offset, length)
        whole.push(slots[1]!, i, offset, length)
      })
      native.sealBatch(memory, batch)
      plain.sealBatch(twin, whole)
      expect(Buffer.compare(memory, twin)).toBe(0)
    }), { numRuns: 300 })
  })

  it('pieces that do not lie in their rows, in order: nothing is done', () => {
    const aead = crypto.aeadOpen()
    const slot = crypto.aeadAddKey(aead, repeated(1))
    const small = fc.integer({ min: -2, max: 70 })
    const wild = fc.oneof(small, small, fc.constantFrom(2 ** 31 - 1, -(2 ** 31)))
    fc.assert(fc.property(fc.tuple(wild, wild, wild), fc.tuple(wild, wild, wild), fc.integer({ min: -1, max: 3 }), fc.integer({ min: -1, max: 3 }), (first, second, endOfFirst, endOfSecond) => {
      const slab = repeated(9, 128)
      const pieces = [first, second]
      const end = Int32Array.of(endOfFirst, endOfSecond)
      const fits = endOfFirst >= 0 && endOfSecond >= endOfFirst && endOfSecond <= 2 && [0, 1].every((row) => {
        let at = row * 32
        return pieces.slice(row === 0 ? 0 : endOfFirst, end[row]).every(([to, from, length]) => {
          const fit = length >= 0 && from >= 0 && from + length <= 128 && to >= at && to + length <= row * 32 + 16
          at = to + length
          return fit
        })
      })
      const columns = [0, 1, 2].map((k) => Int32Array.of(first[k]!, second[k]!)) as [Int32Array, Int32Array, Int32Array]
      const result = crypto.aeadSealBatch(aead, slab, 2, Int32Array.of(slot, slot), Float64Array.of(1, 2), Int32Array.of(0, 32), Int32Array.of(16, 16), end, ...columns)
      expect(result === 0).toBe(fits)
      if (!fits) expect(slab).toEqual(repeated(9, 128))
    }), { numRuns: 2000 })
  })

  it('a detached slab, and one that is shorter than it says', () => {
    const aead = crypto.aeadOpen()
    const slot = crypto.aeadAddKey(aead, repeated(1))
    const batch = new AeadBatch(1)
    batch.push(slot, 0, 0, 8)
    const slab = new Uint8Array(64)
    structuredClone(slab.buffer, { transfer: [slab.buffer] })
    expect(crypto.aeadSealBatch(aead, slab, 1, batch.key, batch.counter, batch.offset, batch.length, ...noPieces)).not.toBe(0)
    expect(() => crypto.aeadSealBatch(aead, new Uint8Array(64), 2, batch.key, batch.counter, batch.offset, batch.length, ...noPieces)).toThrow(TypeError)
  })

  it('many keys, in any order of coming and going: each row is sealed with its own', () => {
    const [first, second] = [new NativeCryptoProvider(crypto), new NativeCryptoProvider(crypto)]
    fc.assert(fc.property(fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 200 }), (steps) => {
      const held: { slot: number; fill: number }[] = []
      steps.forEach((step, i) => {
        if (step === 0 && held.length > 0) {
          const [gone] = held.splice(i % held.length, 1)
          first.removeKey(gone!.slot)
        } else {
          held.push({ slot: first.addKey(repeated(i & 0xff)), fill: i & 0xff })
        }
      })
      expect(new Set(held.map(({ slot }) => slot)).size).toBe(held.length)
      for (const { slot, fill } of held) {
        const [own, other] = [new Uint8Array(48), new Uint8Array(48)]
        const key = second.addKey(repeated(fill))
        seal(first, slot, own)
        seal(second, key, other)
        second.removeKey(key)
        expect(own).toEqual(other)
        first.removeKey(slot)
      }
    }), { numRuns: 50 })
  })

  it('a removed key does not stay in the context: the next key in the slot is the one that seals', () => {
    const provider = new NativeCryptoProvider(crypto)
    const [before, after, expected] = [new Uint8Array(48), new Uint8Array(48), new Uint8Array(48)]
    const slot = provider.addKey(repeated(1))
    seal(provider, slot, before)
    provider.removeKey(slot)
    expect(provider.addKey(repeated(2))).toBe(slot)
    seal(provider, slot, after)
    const other = new NativeCryptoProvider(crypto)
    seal(other, other.addKey(repeated(2)), expected)
    expect(after).toEqual(expected)
    expect(after).not.toEqual(before)
  })

  it('an engine is not taken for a key, nor a key for an engine', () => {
    const engine = crypto.x25519Open()
    const key = crypto.x25519Generate(engine, new Uint8Array(32))
    const bytes = new Uint8Array(32)
    for (const [first, second] of [[key, key], [engine, engine], [crypto.aeadOpen(), key], [engine, {}]]) {
      expect(() => crypto.x25519Derive(first as never, second as never, bytes, bytes)).toThrow(TypeError)
    }
  })

  it('one key and many peers in turn, points without an answer among them: each pair agrees as with node:crypto', () => {
    const [provider, plain] = [new NativeCryptoProvider(crypto), new NodeCryptoProvider()]
    const own = provider.x25519FromPrivate(repeated(9))
    const twin = plain.x25519FromPrivate(repeated(9))
    const peers = Array.from({ length: 40 }, (_, i) => (i % 5 === 0 ? new Uint8Array(32) : plain.x25519FromPrivate(repeated(i)).publicKey))
    const imported = peers.map((peer) => provider.x25519Import(peer))
    for (let round = 0; round < 2; round++) {
      peers.forEach((peer, i) => {
        const shared = provider.x25519(own.privateKey, imported[i]!)
        expect(shared).toEqual(plain.x25519(twin.privateKey, plain.x25519Import(peer)))
        expect(shared === undefined).toBe(i % 5 === 0)
      })
    }
    // What was imported is not a view of what it was imported from.
    peers[1]!.fill(0)
    expect(provider.x25519(own.privateKey, imported[1]!)).toBeDefined()
  })

  it('an answer there is none of leaves zeros where it would be', () => {
    const shared = repeated(7)
    expect(crypto.x25519Derive(crypto.x25519Open(), crypto.x25519Generate(crypto.x25519Open(), new Uint8Array(32)), new Uint8Array(32), shared)).toBe(false)
    expect(shared).toEqual(new Uint8Array(32))
  })

  it('hashing: lengths beyond the scratch array, one that is too short, and one whose memory was handed away', () => {
    const scratch = new Uint8Array(160)
    const hash = crypto.hashOpen(scratch)
    expect([crypto.hashSha256(hash, 160), crypto.hashHmac(hash, 96, 64), crypto.hashHkdf2(hash, 96)]).toEqual([true, true, true])
    for (const wrong of [() => crypto.hashSha256(hash, 161), () => crypto.hashSha256(hash, -1), () => crypto.hashHmac(hash, 97, 32), () => crypto.hashHmac(hash, 1, 65), () => crypto.hashHkdf2(hash, 97), () => crypto.hashOpen(new Uint8Array(127))]) {
      expect(wrong).toThrow(TypeError)
    }
    structuredClone(scratch, { transfer: [scratch.buffer] })
    for (const gone of [() => crypto.hashSha256(hash, 1), () => crypto.hashHmac(hash, 0, 0), () => crypto.hashHkdf2(hash, 0)]) expect(gone).toThrow(TypeError)
  })

  it('digests one after the other do not see each other, and nothing of a key is left in the scratch array', () => {
    let scratch: Uint8Array = new Uint8Array(0)
    const provider = new NativeCryptoProvider({ ...crypto, hashOpen: (array) => crypto.hashOpen(scratch = array) })
    const plain = new NodeCryptoProvider()
    for (let size = 0; size < 300; size += 7) {
      const [key, input] = [repeated(size & 255, size % 65), repeated(255 - (size & 255), size)]
      expect([provider.sha256(input), provider.hmac(key, input, key), noiseHkdf2(provider, repeated(size & 255), input)])
        .toEqual([plain.sha256(input), plain.hmac(key, input, key), noiseHkdf2(plain, repeated(size & 255), input)])
      expect(isAllZero(scratch)).toBe(true)
    }
  })

  it('a worker that is terminated while it seals takes nothing with it', async () => {
    const code = `
      const { parentPort } = require('node:worker_threads')
      const addon = require(${JSON.stringify(addon?.path)})
      const aead = addon.aeadOpen()
      const slot = addon.aeadAddKey(aead, new Uint8Array(32))
      const slab = new Uint8Array(1 << 20)
      const none = new Int32Array(0)
      const rows = [Int32Array.of(slot), Float64Array.of(1), Int32Array.of(0), Int32Array.of(slab.length - 16), Int32Array.of(0), none, none, none]
      parentPort.postMessage('running')
      for (;;) addon.aeadSealBatch(aead, slab, 1, ...rows)`
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(code, { eval: true })
      await once(worker, 'message')
      await worker.terminate()
    }
  })

  it('collections in between change nothing', () => {
    const script = `
      const addon = require(${JSON.stringify(addon?.path)})
      const none = new Int32Array(0)
      for (let i = 0; i < 300; i++) {
        const aead = addon.aeadOpen()
        const slot = addon.aeadAddKey(aead, new Uint8Array(32).fill(i))
        const slab = new Uint8Array(64)
        const rows = () => [Int32Array.of(slot), Float64Array.of(1), Int32Array.of(0), Int32Array.of(48)]
        if (addon.aeadSealBatch(aead, slab, 1, ...rows(), Int32Array.of(0), none, none, none) !== 0) throw new Error('seal')
        const scratch = new Uint8Array(128)
        const hash = addon.hashOpen(scratch)
        const engine = addon.x25519Open()
        const publicKey = new Uint8Array(32)
        const keys = Array.from({ length: 10 }, () => addon.x25519Generate(engine, publicKey))
        if (i % 10 === 0) gc()
        if (!addon.x25519Derive(engine, keys[i % 10], publicKey, new Uint8Array(32))) throw new Error('derive')
        if (!addon.hashSha256(hash, 0) || scratch[0] !== 0xe3) throw new Error('hash')
        const opened = rows()
        if (addon.aeadOpenBatch(aead, slab, 1, ...opened) !== 0 || opened[3][0] !== 48 || slab.subarray(0, 48).some((byte) => byte !== 0)) throw new Error('open')
      }
      console.log('done')`
    const child = spawnSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' })
    expect([child.stderr, child.stdout, child.signal]).toEqual(['', 'done\n', null])
  })
})

function seal(provider: NativeCryptoProvider, slot: number, slab: Uint8Array): void {
  const batch = new AeadBatch(1)
  batch.push(slot, 7, 0, slab.length - 16)
  provider.sealBatch(slab, batch)
}
