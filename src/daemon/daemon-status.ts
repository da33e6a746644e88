import { formatAddress } from '../core/base/address.ts'
import type { StatusResult } from '../core/wire/ipc/ipc-methods.ts'
import { encodePeerId } from '../core/wire/peer-id.ts'
import type { UdpDriver } from '../net/udp.ts'
import { version } from '../platform/version.ts'
import type { BleService } from './ble/ble-service.ts'
import type { NatService } from './nat/nat-service.ts'
import type { NativeStatus } from './native.ts'
import type { NodeRuntime } from './node-runtime.ts'

export interface StatusParts {
  readonly runtime: NodeRuntime
  /** By `performance.now()`. */
  readonly startedAt: number
  /** Where peers can reach this node, 18 bytes each. */
  readonly addresses: readonly Uint8Array[]
  readonly nat: NatService
  readonly ble: BleService
  readonly native: NativeStatus
  readonly udp: UdpDriver
  /** Counters besides those of the core, the drivers and the services above. */
  readonly more: Readonly<Record<string, number>>
}

/** The answer to `status`: what each part of the daemon says of itself. */
export function statusOf({ runtime, startedAt, addresses, nat, ble, native, udp, more }: StatusParts): StatusResult {
  const { endpoint } = runtime
  const paths = { direct: 0, tcp: 0, relay: 0, turn: 0, ble: 0 }
  let sessions = 0
  for (const handle of endpoint.peers()) {
    const active = endpoint.peerStats(handle)?.paths.find((path) => path.active)
    if (active === undefined) continue
    sessions++
    paths[active.kind === 'udp' ? 'direct' : active.kind]++
  }
  const drivers = Object.assign({}, ...runtime.drivers.map((driver) => driver.stats())) as Record<string, number>
  const buffers = udp.links()[0]
  return {
    peerId: encodePeerId(endpoint.id), version, uptimeMs: Math.round(performance.now() - startedAt), sessions, paths,
    addresses: addresses.map((address) => formatAddress(address)), stun: nat.status(), portMapping: nat.mapping.status(), ble: ble.summary, nat: nat.own(), lanes: endpoint.laneStats(),
    counters: {
      ...endpoint.counters(), ...nat.counters(), ...ble.counters(), ...drivers, ...runtime.spare?.stats(), ...more,
      memory_used: endpoint.arena.used, memory_capacity: endpoint.arena.capacity, udp_receive_buffer: buffers?.receiveBuffer ?? 0,
    },
    native: { ...native, features: buffers?.features ?? [] },
  }
}
