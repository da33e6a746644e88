import { describe, expect, it } from 'vitest'
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
})
