import type { Transport } from '../core/wire/pcp.ts'
import type { Config } from './config-schema.ts'
import { localAddresses } from './local-addresses.ts'

/** What an invite holds. */
export const ADDRESSES_MAX = 16

export interface Reachable {
  readonly udpPort: number
  /** A TCP listener is open. */
  readonly tcp: boolean
  /** What the router lets in, by transport. */
  readonly mapped: ReadonlyMap<Transport, Uint8Array>
  /** Where servers see the UDP socket. */
  readonly reflexive: readonly Uint8Array[]
}

/** Where peers can reach this node, 18 bytes each: what the configuration says, the interfaces, what the router lets in, then what servers see; at most 16. */
export function nodeAddresses({ udp, tcp }: Config, reachable: Reachable): Uint8Array[] {
  const { advertise, bind } = udp
  const separate = reachable.tcp && tcp.listen && tcp.port !== 0 && tcp.port !== reachable.udpPort
  const local = localAddresses(reachable.udpPort, advertise, bind)
  // Peers try both at each address: a TCP port of its own is one more.
  const byTcp = separate ? localAddresses(tcp.port, advertise.filter((own) => own.port === 0), bind) : []
  const seen = new Set(local.map(String))
  // Also one that is there twice: the router maps UDP and TCP alike, and a server sees the mapped address.
  const outside = [...reachable.mapped.values(), ...reachable.reflexive].filter((address) => !seen.has(String(address)) && seen.add(String(address)))
  const room = ADDRESSES_MAX - outside.length
  return [...local.slice(0, separate ? Math.min(room, ADDRESSES_MAX / 2) : room), ...byTcp].slice(0, room).concat(outside)
}
