import { equalAddress } from '../base/address.ts'
import { toBinaryString } from '../base/bytes.ts'
import type { LinkId, LinkState, PeerHandle } from '../base/domain.ts'
import type { Now } from '../base/time.ts'
import type { Connection } from '../connection/connection.ts'
import { onScoutHeard, onScoutOpened } from '../connection/dialing/dial.ts'
import { followHints } from '../connection/paths/hints.ts'
import { onNetworkChange } from '../connection/paths/network-change.ts'
import type { PathHint, RefusalReason } from '../path/attempts.ts'
import type { LinkInfo } from './contract.ts'
import type { Link } from './links.ts'
import type { Node } from './node.ts'

/** What the drivers say of sockets and connections, brought to the sessions that it concerns. */
export function onLink(node: Node, now: Now, link: LinkId, state: LinkState, info: LinkInfo | undefined): void {
  switch (state) {
    case 'opened':
      if (info !== undefined) onOpened(node, now, link, info)
      return
    case 'blocked':
    case 'writable': {
      const found = node.links.get(link)
      if (found !== undefined) found.blocked = state === 'blocked'
      if (state === 'blocked') return
      for (const connection of sessionsOn(node, found)) if (connection.state.paths.some((path) => path?.link === link)) node.markReady(connection)
      return
    }
    case 'failed':
    case 'closed': {
      const gone = node.links.delete(link)
      if (gone?.spare === true) node.punching?.handleClosed(now, link)
      else if (gone?.reliable === false) node.stun?.handleClosed(now)
      node.xx?.linkClosed(link)
      for (const connection of sessionsOn(node, gone)) {
        connection.dropLink(now, link)
        node.reschedule(connection)
        node.pairing.lost(now, connection)
      }
    }
  }
}

function onOpened(node: Node, now: Now, id: LinkId, info: LinkInfo): void {
  const { links } = node
  const link = links.open(id, info)
  if (link.spare) {
    onSocket(node, now, id, info.token)
    return
  }
  if (!link.reliable) {
    node.stun?.handleOpened(now)
    for (const connection of sessionsOn(node, link)) {
      if (connection.state.phase === 'closing') continue
      connection.socketOpened(now)
      node.reschedule(connection)
    }
    return
  }
  if (info.token === undefined) return
  if (links.answeredAnybody(info.token) !== undefined) {
    if (node.xx?.begin(now, id, undefined) !== true) links.end(id)
    return
  }
  link.dialer = links.answered(info.token)
  if (link.dialer === undefined) {
    links.end(id)
    return
  }
  link.dialer.linkDialed(now, info.token, id)
  node.reschedule(link.dialer)
}

/** A socket on a port of its own: a dial's scout, or one of a round of guesses. */
function onSocket(node: Node, now: Now, id: LinkId, token: number | undefined): void {
  const dialing = token === undefined ? undefined : node.links.answered(token)
  if (dialing === undefined) {
    node.punching?.handleOpened(now, id, token)
    return
  }
  if (!onScoutOpened(dialing.state, now, id)) {
    node.links.endSpare(id)
    return
  }
  node.links.get(id)!.dialer = dialing
  node.reschedule(dialing)
}

/** A handshake or a COOKIE came to a dial's scout: true when that is what the link is, and no more is made of it. */
export function heardByScout(node: Node, now: Now, { dialer, spare }: Link): boolean {
  if (!spare || dialer === undefined) return false
  onScoutHeard(dialer.state, now)
  node.reschedule(dialer)
  return true
}

/** Sessions that a link may concern: all of them, when it is a socket. */
function sessionsOn(node: Node, link: Link | undefined): Connection[] {
  if (link === undefined) return []
  // Of those that are closed because nobody uses them there are hundreds at once.
  if (link.spare && link.closing) return []
  if (link.spare) return node.sessions.filter((connection) => connection?.state.paths.some((path) => path?.link === link.id) === true) as Connection[]
  const candidates = link.reliable ? new Set([link.owner, link.dialer]) : node.sessions
  return [...candidates].filter((connection) => connection !== undefined)
}

export function onDialFailed(node: Node, now: Now, token: number, reason: RefusalReason): void {
  const address = node.links.answeredAnybody(token)
  if (address !== undefined) node.push({ kind: 'link-refused', address, reason: 'no_answer' })
  const connection = node.links.answered(token)
  if (connection === undefined) return
  connection.linkDialFailed(now, token, reason)
  node.reschedule(connection)
}

export function onRefused(node: Node, now: Now, link: LinkId, addresses: readonly Uint8Array[], reason: RefusalReason): void {
  node.counters.add('sends_refused', addresses.length)
  node.stun?.handleRefused(now, link, addresses)
  // Without a network every session hears of it at once: one walk over all of them, whatever their number.
  const keys = new Map(addresses.map((address) => [toBinaryString(address), address]))
  for (const connection of node.sessions) {
    if (connection === undefined || !connection.refused(now, link, keys, reason)) continue
    node.reschedule(connection)
  }
}

/** What ICMP said: like {@link onRefused}, but nobody vouches for it. */
export function onHints(node: Node, now: Now, link: LinkId, hints: readonly PathHint[]): void {
  node.counters.add('hints_heard', hints.length)
  const keys = new Map(hints.map((hint) => [toBinaryString(hint.address), hint]))
  for (const connection of node.sessions) {
    if (connection === undefined || !followHints(connection.state, now, link, keys)) continue
    connection.update(now)
    node.reschedule(connection)
  }
}

/** A peer came into range of the radio, or left it: who could not be reached is dialed, and a session in doubt has one way more. */
export function onNearby(node: Node, now: Now, peer: PeerHandle, address: Uint8Array | undefined): void {
  const entry = node.roster.get(peer)
  if (entry === undefined) return
  const before = entry.nearby
  entry.nearby = address?.slice()
  const { connection } = entry
  if (connection === undefined || address === undefined || (before !== undefined && equalAddress(before, 0, address, 0))) return
  if (!connection.reachable && connection.state.dial === undefined) connection.dial(now, entry.record.addresses)
  connection.nearby(now)
  node.reschedule(connection)
}

/** Addresses or routes of this machine changed: each session asks on its paths, and dials that had become rare are loud again. */
export function onNetwork(node: Node, now: Now): void {
  node.counters.add('network_changes')
  for (const connection of node.sessions) {
    if (connection === undefined || connection.state.phase === 'closing' || connection.state.phase === 'closed') continue
    onNetworkChange(connection.state, now)
    connection.update(now)
    node.reschedule(connection)
  }
}
