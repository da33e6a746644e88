import { networkInterfaces } from 'node:os'
import { encodeAddress, formatAddress, isIPv4 } from '../../core/base/address.ts'
import { addressClass } from '../../core/base/address-class.ts'
import { millisecond } from '../../core/base/time.ts'
import type { CryptoProvider } from '../../core/crypto/provider.ts'
import type { NatCheckResult } from '../../core/stun/nat-check.ts'
import type { IpFamily, StunServer } from '../../core/stun/reflexive.ts'
import type { StunCounter } from '../../core/stun/transactions.ts'
import type { IpcPortMapping, NetcheckFamily, NetcheckInterface, NetcheckResult, NetcheckState } from '../../core/wire/ipc/ipc-nat.ts'
import { guessPortal } from '../../net/portal.ts'
import type { Clock } from '../../platform/clock.ts'
import { runNatCheck } from './nat-check-run.ts'
import { meaningOf } from './nat-words.ts'
import { tcpCheck, type TcpCheckOptions } from './tcp-check.ts'

export interface NetcheckOptions {
  readonly provider: CryptoProvider
  readonly clock: Clock
  readonly enabled: boolean
  readonly servers: readonly StunServer[]
  readonly unresolved: readonly string[]
  /** Where the daemon's sockets are bound. */
  readonly bind: readonly string[]
  /** Whom to ask whether people must log in first; `undefined`: nobody. */
  readonly portal: string | undefined
  readonly count: (counter: StunCounter) => void
  readonly tcp: Pick<TcpCheckOptions, 'servers' | 'punching'>
  readonly portMapping: () => IpcPortMapping
  readonly signal: AbortSignal
}

/** Looks at the network as it is now: interfaces, UDP by both families, the NATs on the way, a gate for logging in. Takes up to some seconds. */
export async function netcheck(options: NetcheckOptions): Promise<NetcheckResult> {
  const { clock, enabled, portal } = options
  const checkTcp = { ...options, ...options.tcp }
  const began = clock.now()
  const interfaces = interfaceList()
  const [udp4, udp6, tcp, guess] = await Promise.all([familyOf(4, interfaces, options), familyOf(6, interfaces, options), enabled ? tcpCheck(checkTcp) : { state: 'off' as const, punching: checkTcp.punching }, enabled && portal !== undefined ? guessPortal(portal) : 'unknown' as const])
  return { at: began.wall, tookMs: Math.round((clock.now().mono - began.mono) / millisecond), interfaces, udp4, udp6, tcp, unresolved: options.unresolved, portal: guess, portMapping: options.portMapping() }
}

function interfaceList(): readonly NetcheckInterface[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) => (addresses ?? []).flatMap(({ address }) => {
    const encoded = encodeAddress(address, 0)
    return encoded === undefined ? [] : [{ name, address, kind: addressClass(encoded) }]
  }))
}

async function familyOf(family: IpFamily, interfaces: readonly NetcheckInterface[], options: NetcheckOptions): Promise<NetcheckFamily> {
  const { enabled, bind, servers: all, provider, clock, count, signal } = options
  const servers = all.filter(({ address }) => isIPv4(address) === (family === 4))
  const hosts = interfaces.filter(({ address, kind }) => (family === 6) === address.includes(':') && kind !== 'link-local').map(({ address }) => address)
  const host = boundHost(family, bind)
  if (!enabled) return nothing('off')
  // To servers on this machine its loopback will do; others need more.
  const local = servers.some(({ address }) => addressClass(address) === 'loopback')
  if (host === undefined || !hosts.some((address) => local || addressClass(encodeAddress(address, 0)!) !== 'loopback')) return nothing('no_address')
  if (servers.length === 0) return nothing('no_server')
  try {
    return described(await runNatCheck({ provider, clock, servers, host, hosts, count, signal }))
  } catch (error) {
    signal.throwIfAborted()
    // The system has no such address after all, or gives no socket.
    if (error instanceof Error && 'code' in error) return nothing('no_address')
    throw error
  }
}

/** The address that probes leave from: as the daemon's own socket, so that they take the same way. */
export function boundHost(family: IpFamily, bind: readonly string[]): string | undefined {
  const own = bind.find((host) => (family === 6) === host.includes(':') && host !== '::')
  if (own !== undefined) return own
  return bind.includes('::') ? (family === 6 ? '::' : '0.0.0.0') : undefined
}

function nothing(state: NetcheckState): NetcheckFamily {
  const unknown = { mapping: 'unknown', filtering: 'unknown', word: 'unknown' } as const
  return { state, ...unknown, meaning: meaningOf(state, unknown), servers: [] }
}

function described({ servers, mapped, portKept, mapping, filtering, word, hairpin }: NatCheckResult): NetcheckFamily {
  const state: NetcheckState = mapped !== undefined ? 'works' : servers.every(({ outcome }) => outcome === 'unreachable') ? 'unreachable' : 'silent'
  return {
    state, mapping, filtering, word, meaning: meaningOf(state, { mapping, filtering, word }),
    ...(mapped === undefined ? {} : { mapped: formatAddress(mapped) }), ...(portKept === undefined ? {} : { portKept }), ...(hairpin === undefined ? {} : { hairpin }),
    servers: servers.map((server) => ({
      name: server.name, address: formatAddress(server.address), outcome: server.outcome, behaviour: server.behaviour,
      ...(server.rtt === undefined ? {} : { rttMs: server.rtt / millisecond }), ...(server.mapped === undefined ? {} : { mapped: formatAddress(server.mapped) }),
    })),
  }
}
