import { never, toWallTime, type Now } from '../base/time.ts'
import { allows, type PathPolicy } from '../path/path-policy.ts'
import type { Node } from './node.ts'

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
