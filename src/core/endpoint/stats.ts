import { lanes } from '../base/domain.ts'
import type { LaneTally } from '../flow/lane-tally.ts'
import type { Channel } from '../connection/channels/channel.ts'
import type { Connection } from '../connection/connection.ts'
import { TRANSPORT_OVERHEAD } from '../connection/packets/packet.ts'
import type { SessionPath } from '../connection/paths/session-path.ts'
import { sessionBinding } from '../session/session-binding.ts'
import type { ChannelStats, LaneStats, PathStats, PeerStats } from './contract.ts'
import { stateOf, type Node } from './node.ts'
import type { PeerEntry } from './roster.ts'

function pathStats(path: SessionPath, active: boolean): PathStats {
  const { rtt, controller, inFlight, packetsSent, packetsLost } = path.recovery
  return {
    address: path.address, kind: path.kind, active, validated: path.validation.validated, rtt: rtt.hasSample ? rtt.smoothed : undefined,
    congestion: controller.name, congestionWindow: controller.window, datagramSize: path.mtu.size + TRANSPORT_OVERHEAD, bytesInFlight: inFlight, loss: packetsSent === 0 ? 0 : packetsLost / packetsSent,
  }
}

export function peerStats(node: Node, peer: PeerEntry): PeerStats {
  const state = peer.connection?.state
  const paths: PathStats[] = []
  for (const path of state?.paths ?? []) if (path !== undefined) paths.push(pathStats(path, path === state?.active))
  return {
    peer: peer.handle, id: peer.id, name: peer.record.name, state: stateOf(peer), since: peer.stateSince, inRoster: peer.inRoster,
    wanted: peer.inRoster && (peer.record.hadSession || peer.record.connectedAt === undefined), paths,
    channels: state?.channels.size ?? 0,
    lanes: state === undefined ? undefined : laneStats(state.tally, state.channels.values()),
    binding: state?.sidPeer === undefined ? undefined
      : sessionBinding(node.provider, { id: node.identity.id, sid: state.sidSelf }, { id: peer.id, sid: state.sidPeer }),
  }
}

export function channelStats(channel: Channel, connection: Connection): ChannelStats {
  const rtt = connection.state.active?.recovery.rtt
  return {
    sent: channel.count.nextId, received: channel.received, delivered: channel.streams.reduce((sum, { queue }) => sum + queue.delivered, 0),
    dropped: channel.tally.dropped(),
    queued: channel.queuedMessages, queuedBytes: channel.queuedBytes, rtt: rtt?.hasSample === true ? rtt.smoothed : undefined,
    lanes: laneStats(channel.tally, [channel]),
  }
}

/** Of the whole node; what is queued is summed over all channels, so it is for people who look, not for every message. */
export function nodeLanes(node: Node): LaneStats {
  return laneStats(node.tally, node.sessions.flatMap((connection) => [...(connection?.state.channels.values() ?? [])]))
}

function laneStats(tally: LaneTally, channels: Iterable<Channel>): LaneStats {
  const queued = lanes.map(() => 0)
  for (const channel of channels) {
    for (const { lane, queue } of channel.streams) queued[lane]! += queue.messages
  }
  const entries = lanes.map((lane, index) => [lane, { ...tally.of(lane), queued: queued[index]! }] as const)
  return Object.fromEntries(entries) as LaneStats
}
