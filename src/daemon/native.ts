import type { CryptoProvider } from '../core/crypto/provider.ts'
import { loadAddon, type AddonState } from '../platform/addon.ts'
import { NativeCryptoProvider } from '../platform/native-crypto-provider.ts'
import { NodeCryptoProvider } from '../platform/node-crypto-provider.ts'

/** What does the work in this daemon, the addon or its twins, and why. Chosen once, at start. */
export interface NativeChoice {
  readonly provider: CryptoProvider
  readonly status: NativeStatus
}

export interface NativeStatus {
  readonly crypto: 'addon' | 'node:crypto'
  /** Why the addon does less than it could; absent when it does everything. */
  readonly reason?: string
}

export function chooseNative(config: { readonly enabled: boolean }, load: () => AddonState = loadAddon): NativeChoice {
  const state: AddonState = config.enabled ? load() : { kind: 'absent', reason: 'switched off by [native] enabled' }
  const missing: string[] = state.kind === 'absent' ? [state.reason] : []
  const provider = state.kind === 'absent' ? undefined : nativeProvider(state, missing)
  return {
    provider: provider ?? new NodeCryptoProvider(),
    status: { crypto: provider === undefined ? 'node:crypto' : 'addon', ...(missing.length > 0 ? { reason: missing.join('; ') } : {}) },
  }
}

function nativeProvider({ addon }: Extract<AddonState, { kind: 'loaded' }>, missing: string[]): CryptoProvider | undefined {
  if (addon.crypto === undefined) {
    missing.push('this node has no OpenSSL 3 that the addon can use')
    return undefined
  }
  try {
    return new NativeCryptoProvider(addon.crypto)
  } catch (error) {
    missing.push(error instanceof Error ? error.message : String(error))
    return undefined
  }
}
