import type { CryptoProvider } from '../core/crypto/provider.ts'
import { nativeEngine } from '../net/udp-native.ts'
import type { UdpEngine } from '../net/udp-socket.ts'
import { loadAddon, type AddonState } from '../platform/addon.ts'
import { NativeCryptoProvider } from '../platform/native-crypto-provider.ts'
import { NodeCryptoProvider } from '../platform/node-crypto-provider.ts'

/** What does the work in this daemon, the addon or its twins, and why. Chosen once, at start. */
export interface NativeChoice {
  readonly provider: CryptoProvider
  /** What opens UDP sockets; `undefined`: node:dgram does. */
  readonly engine: UdpEngine | undefined
  readonly status: NativeStatus
}

export interface NativeStatus {
  readonly crypto: 'addon' | 'node:crypto'
  readonly udp: 'addon' | 'node:dgram'
  /** Why the addon does less than it could; absent when it does everything. */
  readonly reason?: string
}

export function chooseNative(config: { readonly enabled: boolean }, load: () => AddonState = loadAddon): NativeChoice {
  const state: AddonState = config.enabled ? load() : { kind: 'absent', reason: 'switched off by [native] enabled' }
  const missing: string[] = state.kind === 'absent' ? [state.reason] : []
  const provider = state.kind === 'absent' ? undefined : nativeProvider(state, missing)
  const engine = state.kind === 'absent' ? undefined : nativeUdp(state, missing)
  return {
    provider: provider ?? new NodeCryptoProvider(), engine,
    status: { crypto: provider === undefined ? 'node:crypto' : 'addon', udp: engine === undefined ? 'node:dgram' : 'addon', ...(missing.length > 0 ? { reason: missing.join('; ') } : {}) },
  }
}

function nativeUdp({ addon }: Extract<AddonState, { kind: 'loaded' }>, missing: string[]): UdpEngine | undefined {
  if (addon.udp !== undefined) return nativeEngine(addon.udp)
  missing.push(`the addon has no UDP for ${process.platform}`)
  return undefined
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
