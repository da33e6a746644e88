import { never, toWallTime, type Instant, type Now, type WallTime } from '../base/time.ts'
import { TRANSPORT_OVERHEAD } from '../connection/packets/packet.ts'
import { viewOf } from '../connection/paths/selection.ts'
import type { SessionPath } from '../connection/paths/session-path.ts'
import { silentSince } from '../connection/paths/silence.ts'
import type { SessionState } from '../connection/state.ts'
import { timer } from '../connection/timers.ts'
import { allows } from '../path/path-policy.ts'
import type { AskedAddress, PeerWhy, RunningDial, WhyPath } from './why-contract.ts'
import { stateOf, type Node } from './node.ts'
import type { PeerEntry } from './roster.ts'

/** Everything that bears on where the traffic with a peer goes, as it is now. What it holds is bounded by the tables that it is read from. */
export function peerWhy(node: Node, peer: PeerEntry, now: Now): PeerWhy {
  const state = peer.connection?.state
  const { policy } = peer.record
  return {
    id: peer.id, name: peer.record.name, inRoster: peer.inRoster, state: stateOf(peer), since: peer.stateSince,
    policy: policy ?? node.config.pathPolicy, policyFrom: policy === undefined ? 'config' : 'peer',
    tcp: node.config.tcpAfter < never, udp: node.links.hasSocket, mapping: node.mapping, whereabouts: peer.whereabouts, birthday: peer.birthday, addresses: peer.record.addresses,
    own: node.candidates.candidates, told: state === undefined ? [] : toldOf(state, now.mono),
    paths: state === undefined ? [] : pathsOf(state, now), asked: state === undefined ? [] : askedOf(state, now.mono), dial: state === undefined ? undefined : dialOf(state, now),
    attempts: peer.pathLog?.attempts?.entries ?? [], decisions: peer.pathLog?.entries ?? [],
  }
}

function pathsOf(state: SessionState, now: Now): WhyPath[] {
  const paths: WhyPath[] = []
  for (const path of state.paths) if (path !== undefined) paths.push(whyPath(state, now, path))
  return paths
}

function whyPath(state: SessionState, now: Now, path: SessionPath): WhyPath {
  const active = path === state.active
  const since = active ? silentSince(path) : never
  return {
    ...viewOf(state, now.mono, path), active, allowed: allows(state.policy, path.kind), dialed: path.reliable && path.dialable, probing: path.probing,
    openedAt: wallOf(now, path.openedAt), takenAt: active ? wallOf(now, path.takenAt) : undefined, rule: active ? path.rule : undefined,
    provenAt: path.provenAt === never ? undefined : wallOf(now, path.provenAt), datagramSize: path.mtu.size + TRANSPORT_OVERHEAD,
    silent: since === never ? undefined : now.mono - since, sent: path.recovery.packetsSent, lost: path.recovery.packetsLost,
  }
}

function toldOf(state: SessionState, now: Instant): PeerWhy['told'] {
  const asked = state.candidates?.asked(now, state.host.candidates.candidates) ?? []
  return (state.candidates?.all ?? []).map((candidate) => ({ candidate, mayAsk: asked.includes(candidate.address) }))
}

function askedOf(state: SessionState, now: Instant): AskedAddress[] {
  return (state.remotes?.all ?? []).map(({ address, proven, probes, refused, quarantinedUntil }) => (
    { address, proven, probes, refused, rest: quarantinedUntil > now ? quarantinedUntil - now : undefined }
  ))
}

function dialOf(state: SessionState, now: Now): RunningDial | undefined {
  const { dial } = state
  if (dial === undefined || dial.rekey) return undefined
  const next = state.timers.get(timer.dial)
  return { since: wallOf(now, dial.startedAt), loud: dial.quiet === 0, next: next === never ? undefined : Math.max(0, next - now.mono) }
}

function wallOf(now: Now, at: Instant): WallTime {
  return toWallTime(Math.round(now.wall - (now.mono - at) / 1000))
}
