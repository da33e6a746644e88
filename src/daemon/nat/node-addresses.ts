import { addressClass } from '../../core/base/address-class.ts'
import { ownCandidate } from '../../core/path/candidates.ts'
import { CANDIDATES_MAX, type Candidate } from '../../core/wire/candidates-frame.ts'
import type { Transport } from '../../core/wire/pcp.ts'
import type { Config } from '../config/config-schema.ts'
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
  /** Where they see the port of TCP, as far as that is asked for. */
  readonly reflexiveTcp: readonly Uint8Array[]
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
  const outside = [...reachable.mapped.values(), ...reachable.reflexive, ...reachable.reflexiveTcp].filter((address) => !seen.has(String(address)) && seen.add(String(address)))
  const room = ADDRESSES_MAX - outside.length
  return [...local.slice(0, separate ? Math.min(room, ADDRESSES_MAX / 2) : room), ...byTcp].slice(0, room).concat(outside)
}

/** The same for peers with a session, with what each address is; loopback serves nobody else. At most 32, and each once. */
export function nodeCandidates({ udp, tcp }: Config, { udpPort, tcp: listens, mapped, reflexive, reflexiveTcp }: Reachable): Candidate[] {
  const interfaces = localAddresses(udpPort, [], udp.bind)
  const advertised = udp.advertise.length === 0 ? [] : localAddresses(udpPort, udp.advertise, []).slice(0, udp.advertise.length)
  const [byUdp, byTcp] = [mapped.get('udp'), mapped.get('tcp')]
  const tcpPort = listens && tcp.listen ? (tcp.port === 0 ? udpPort : tcp.port) : undefined
  const found = [
    ...interfaces.map((address) => ownCandidate('host', address)),
    ...[...advertised, ...(byUdp === undefined ? [] : [byUdp])].map((address) => ownCandidate('mapped', address)),
    ...reflexive.map((address) => ownCandidate('reflexive', address)),
    ...(tcpPort === undefined ? [] : localAddresses(tcpPort, [], udp.bind).map((address) => ownCandidate('tcp-host', address))),
    ...[...(byTcp === undefined ? [] : [byTcp]), ...reflexiveTcp].map((address) => ownCandidate('tcp-mapped', address)),
  ]
  const seen = new Set<string>()
  return found.filter(({ kind, address }) => {
    const name = `${kind.startsWith('tcp') ? 'tcp' : 'udp'} ${String(address)}`
    return addressClass(address) !== 'loopback' && !seen.has(name) && seen.add(name)
  }).slice(0, CANDIDATES_MAX)
}
