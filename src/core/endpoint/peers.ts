import { never, toWallTime, type Now } from '../base/time.ts'
import { onNamed } from '../connection/paths/peer-candidates.ts'
import { allows, type PathPolicy } from '../path/path-policy.ts'
import type { PeerHandle, PeerRecord, ReplyRefusal } from './contract.ts'
import type { InviteReply } from '../wire/invite-reply.ts'
import type { Node } from './node.ts'
import type { PeerEntry } from './roster.ts'

/** Puts a peer into the roster, or changes what is known of it; `undefined` for an id that is not valid or is our own. */
export function addPeer(node: Node, now: Now, id: Uint8Array, { name, addresses, invite }: { readonly name: string | undefined; readonly addresses: readonly Uint8Array[]; readonly invite: PeerRecord['invite'] }): PeerHandle | undefined {
  const peer = node.roster.ensure(id, now.wall)
  if (peer === undefined) return undefined
  node.roster.add(peer, { name: name ?? peer.record.name, invite: invite ?? peer.record.invite }, addresses)
  nameAddresses(node, now, peer, addresses)
  return peer.handle
}

export function acceptReply(node: Node, now: Now, reply: InviteReply): PeerHandle | ReplyRefusal {
  const peer = node.roster.acceptReply(now, reply)
  if (typeof peer === 'string') return peer
  nameAddresses(node, now, peer, reply.addresses)
  return peer.handle
}

/** A session that is up, or that is being dialed, need not wait until these addresses are looked at by themselves. */
export function nameAddresses(node: Node, now: Now, { connection }: PeerEntry, addresses: readonly Uint8Array[]): void {
  if (connection === undefined || addresses.length === 0) return
  onNamed(connection.state, now, addresses)
  connection.update(now)
  node.reschedule(connection)
}

/** Takes a peer out of the roster, and ends what goes on with it. */
export function removePeer(node: Node, now: Now, id: Uint8Array): boolean {
  const peer = node.roster.find(id)
  if (peer?.inRoster !== true) return false
  node.roster.remove(peer)
  // Who was a friend until now would know us on the air.
  if (node.config.ble) node.presence.rotate()
  node.presence.changed(peer)
  node.punching?.end(now, peer.handle, 'called_off')
  const { connection } = peer
  if (connection === undefined) {
    node.roster.release(peer)
    return true
  }
  connection.close(now, 'revoked', '')
  node.reschedule(connection)
  return true
}

export function setPeerPolicy(node: Node, now: Now, id: Uint8Array, policy: PathPolicy | undefined): 'set' | 'unknown' | 'nothing-left' {
  const { config, roster } = node
  const peer = roster.find(id)
  if (peer?.inRoster !== true) return 'unknown'
  const inForce = policy ?? config.pathPolicy
  if (!allows(inForce, 'udp') && (config.tcpAfter === never || !allows(inForce, 'tcp')) && !(config.ble && allows(inForce, 'ble'))) return 'nothing-left'
  roster.add(peer, { policy }, [])
  node.noteDecision(peer.handle, { kind: 'policy', at: toWallTime(now.wall), policy })
  if (!allows(inForce, 'udp')) node.punching?.end(now, peer.handle, 'called_off')
  if (peer.connection === undefined) return 'set'
  const { connection } = peer
  connection.setPolicy(now, inForce)
  if (connection.state.phase === 'dialing' && connection.state.dial === undefined) connection.replace(now, 'policy')
  node.reschedule(connection)
  return 'set'
}
