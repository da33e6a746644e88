import { randomFillSync } from 'node:crypto'
import { NobleProvider } from '../../src/core/crypto/noble-provider.ts'
import type { CryptoProvider } from '../../src/core/crypto/provider.ts'
import { NativeCryptoProvider } from '../../src/platform/native-crypto-provider.ts'
import { NodeCryptoProvider } from '../../src/platform/node-crypto-provider.ts'
import { addon } from './addon.ts'

export const node: CryptoProvider = new NodeCryptoProvider()
export const noble: CryptoProvider = new NobleProvider({ random: (target) => randomFillSync(target) })

/** The one over the addon; absent where that is not built. */
export const native: CryptoProvider | undefined = addon?.crypto === undefined ? undefined : new NativeCryptoProvider(addon.crypto)

/** For `describe.each`: what holds for one provider must hold for all. */
export const providers: readonly (readonly [string, CryptoProvider])[] = [['node:crypto', node], ['noble', noble], ...native === undefined ? [] : [['native', native] as const]]
