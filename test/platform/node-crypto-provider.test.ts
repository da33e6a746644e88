import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { AeadBatch } from '../../src/core/crypto/aead-batch.ts'
import { NodeCryptoProvider } from '../../src/platform/node-crypto-provider.ts'

describe('NodeCryptoProvider', () => {
  it('measures its costs once, when they are first asked for', () => {
    const provider = new NodeCryptoProvider()
    const start = performance.now()
    const costs = provider.costs
    // About 10 ms on an idle machine; the bound only catches a measurement that runs away.
    expect(performance.now() - start).toBeLessThan(500)
    expect(provider.costs).toBe(costs)
  })

  it('takes costs from its owner instead', () => {
    const costs = { x25519: 1, x25519Generate: 2, x25519Import: 3, hash: 4, validateId: 5 }
    expect(new NodeCryptoProvider({ costs }).costs).toBe(costs)
  })

  it('fills with random bytes in place', () => {
    const target = new Uint8Array(32)
    expect(new NodeCryptoProvider().random(target)).toBe(target)
    expect(target).not.toEqual(new Uint8Array(32))
  })

  it('opens with each of more keys than it holds ready for OpenSSL, whatever the order of their use', () => {
    const provider = new NodeCryptoProvider()
    const count = 3000
    const slots = Array.from({ length: count }, (_, i) => provider.addKey(keyOf(i)))
    const bytes = new Uint8Array(64)
    const open = (i: number, slot: number): number => {
      const nonce = new Uint8Array(12)
      bytes.set(provider.seal(keyOf(i), nonce, new Uint8Array(0), new Uint8Array(20).fill(i)))
      const batch = new AeadBatch(1)
      batch.push(slot, 0, 0, 20)
      provider.openBatch(bytes, batch)
      return batch.length[0]!
    }
    for (let round = 0; round < 2; round++) for (let i = 0; i < count; i++) expect(open(i, slots[(i * 7) % count]!)).toBe((i * 7) % count === i ? 20 : -1)
    for (let i = 0; i < count; i++) expect(open(i, slots[i]!)).toBe(20)
    for (let i = 0; i < count; i += 2) provider.removeKey(slots[i]!)
    expect(() => open(0, slots[0]!)).toThrow('in use')
    // A slot that is given again is the new key's.
    const again = provider.addKey(keyOf(5000))
    expect(open(5000, again)).toBe(20)
    for (let i = 1; i < count; i += 2) expect(open(i, slots[i]!)).toBe(20)
  })

  it('generates keys for ever: none of them hangs in a garbage collection', () => {
    // In a process of its own, because what this guards against (see generatePair) blocks the thread beyond any test timeout.
    // The garbage of varying size moves the collections to ever other places: exporting the keys
    // hung after 2,500 … 18,000 of them, in about four runs of five.
    const script = `
      import { NodeCryptoProvider } from ${JSON.stringify(new URL('../../dist/platform/node-crypto-provider.js', import.meta.url).href)}
      const provider = new NodeCryptoProvider()
      const peer = provider.x25519Import(provider.x25519Generate().publicKey)
      for (let i = 0; i < 60000; i++) {
        globalThis.garbage = new Uint8Array(i % 61)
        const pair = provider.x25519Generate()
        globalThis.garbage = new Array(i % 61).fill(i)
        if (i % 16 === 0) provider.x25519(pair.privateKey, peer)
        if (i % 64 === 0) provider.x25519FromPrivate(pair.publicKey)
      }
      console.log('done')`
    const child = spawnSync(process.execPath, ['--max-semi-space-size=1', '--input-type=module', '--eval', script], { timeout: 50_000, encoding: 'utf8' })
    expect([child.stderr, child.stdout, child.signal]).toEqual(['', 'done\n', null])
  }, 60_000)
})

function keyOf(number: number): Uint8Array {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(0, number)
  return key
}
