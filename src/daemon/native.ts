import type { Socket } from 'node:net'
import { constants } from 'node:os'
import { PosternError } from '../core/base/errors.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import { descriptorOf, type SocketAccess } from '../ipc/access.ts'
import type { NetlinkAddon } from '../net/network-watch.ts'
import { nativeTcpSystem } from '../net/tcp-native.ts'
import type { TcpSystem } from '../net/tcp-system.ts'
import { nativeEngine } from '../net/udp-native.ts'
import type { UdpEngine } from '../net/udp-socket.ts'
import { loadAddon, type Addon, type AddonState, type AddonSystem } from '../platform/addon.ts'
import { NativeCryptoProvider } from '../platform/native-crypto-provider.ts'
import { NodeCryptoProvider } from '../platform/node-crypto-provider.ts'
import type { FlockAnswer } from '../store/instance-lock.ts'

/** What does the work in this daemon, the addon or its twins, and why. Chosen once, at start. */
export interface NativeChoice {
  readonly provider: CryptoProvider
  /** What opens UDP sockets; `undefined`: node:dgram does. */
  readonly engine: UdpEngine | undefined
  /** `undefined`: node:net alone opens TCP sockets. */
  readonly tcp: TcpSystem | undefined
  /** What the kernel says of addresses and routes; `undefined`: it is looked now and then. */
  readonly netlink: NetlinkAddon | undefined
  /** Who connected a Unix socket; `undefined` where nothing tells. */
  readonly uidOf: ((socket: Socket) => number | undefined) | undefined
  /** Locks an open file; `undefined`: a program does, or sockets. */
  readonly flock: ((fd: number) => FlockAnswer) | undefined
  /** What else the addon knows of the system; `undefined` without it. */
  readonly system: AddonSystem | undefined
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
    provider: provider ?? new NodeCryptoProvider(), engine, tcp: state.kind === 'absent' || state.addon.tcp === undefined ? undefined : nativeTcpSystem(state.addon.tcp),
    netlink: state.kind === 'absent' ? undefined : state.addon.netlink,
    uidOf: state.kind === 'absent' ? undefined : (socket) => peerUid(state.addon, socket),
    flock: state.kind === 'absent' ? undefined : (fd) => flock(state.addon, fd), system: state.kind === 'absent' ? undefined : state.addon.system,
    status: { crypto: provider === undefined ? 'node:crypto' : 'addon', udp: engine === undefined ? 'node:dgram' : 'addon', ...(missing.length > 0 ? { reason: missing.join('; ') } : {}) },
  }
}

function peerUid({ system }: Addon, socket: Socket): number | undefined {
  const descriptor = descriptorOf(socket)
  const uid = descriptor === undefined ? -1 : system.peerUid(descriptor)
  return uid < 0 ? undefined : uid
}

function flock({ system }: Addon, fd: number): FlockAnswer {
  const result = system.lockFile(fd)
  return result === 0 ? 'ours' : result === -constants.errno.EAGAIN ? 'held' : 'unusable'
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

/** Who may use the daemon's socket. Other users are let in only where it is known who they are. */
export function accessOf(uids: readonly number[], uidOf: NativeChoice['uidOf'], reason: string | undefined): SocketAccess | undefined {
  if (uidOf !== undefined) return { uidOf, own: process.getuid?.(), others: uids }
  if (uids.length === 0) return undefined
  throw new PosternError('config', 'Other users cannot be let in: without the native addon it is not known who connects.', {
    hint: `Take [ipc] uids out of postern.toml, or get the addon (${reason ?? 'npm run build:native'}).`,
  })
}
