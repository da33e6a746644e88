import type { PeerHandle } from '../base/domain.ts'
import type { Now } from '../base/time.ts'
import { policyForbids } from '../connection/paths/reach.ts'
import type { ConnectOptions } from './contract.ts'
import type { Node } from './node.ts'
import { nameAddresses } from './peers.ts'

/** Dials a peer, or makes a dial under way loud again; `undefined`: it is no peer, or the node is closing. */
export function connectPeer(node: Node, now: Now, id: Uint8Array, options: ConnectOptions): PeerHandle | undefined {
  const peer = node.shuttingDown ? undefined : node.roster.ensure(id, now.wall)
  if (peer === undefined) return undefined
  if (peer.connection?.reachable === true) {
    nameAddresses(node, now, peer, options.addresses)
    return peer.handle
  }
  const connection = peer.connection ?? node.createSession(now, peer)
  connection.state.early = peer.record.invite !== undefined && peer.record.connectedAt === undefined
  const dialing = connection.dial(now, [...options.addresses, ...peer.record.addresses], options.meeting)
  if (!dialing) {
    const reason = policyForbids(connection.state, [...options.addresses, ...peer.record.addresses]) ? 'policy' : 'no_address'
    if (connection.state.phase === 'dialing') {
      connection.replace(now, reason)
      // A stranger without an address is forgotten at once; its handle stays good for this answer only.
      return peer.handle
    }
    if (reason === 'policy') node.tellPeer(now, peer, 'unreachable', reason)
  } else {
    if (connection.state.phase === 'dialing') node.tellPeer(now, peer, 'dialing', undefined)
    // Message A goes out now: the one timer of a pump is up to two milliseconds late.
    if (connection.nextTimeout() <= now.mono) connection.handleTimeout(now)
  }
  node.reschedule(connection)
  return peer.handle
}
