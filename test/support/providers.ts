import { randomFillSync } from 'node:crypto'
import { NobleProvider } from '../../src/core/crypto/noble-provider.ts'
import type { CryptoProvider } from '../../src/core/crypto/provider.ts'
import { NodeCryptoProvider } from '../../src/platform/node-crypto-provider.ts'

export const node: CryptoProvider = new NodeCryptoProvider()
export const noble: CryptoProvider = new NobleProvider({ random: (target) => randomFillSync(target) })

/** For `describe.each`: what holds for one provider must hold for all. */
export const providers: readonly (readonly [string, CryptoProvider])[] = [['node:crypto', node], ['noble', noble]]
