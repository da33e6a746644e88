import { MESSAGE_COST } from '../../src/core/base/domain.ts'
import type { Channel } from '../../src/core/connection/channels/channel.ts'
import type { SessionPath } from '../../src/core/connection/paths/session-path.ts'
import { PATHS_MAX, type SessionState } from '../../src/core/connection/state.ts'
import type { Node } from '../../src/core/endpoint/node.ts'
import { CARRIER_DIALS_MAX } from '../../src/core/connection/dialing/pending-dials.ts'
import { CHALLENGES_OPEN } from '../../src/core/path/path-validation.ts'
import { REMOTES_MAX } from '../../src/core/path/remotes.ts'
import { ACK_RANGES_KEPT } from '../../src/core/flow/ack-ranges.ts'
import { TRACKED_MAX } from '../../src/core/flow/sent-packets.ts'
import type { Side } from './conversation.ts'
import { hold } from './failure.ts'
import type { Machine } from './machine.ts'

/** WIRE.md §5: a consumer's unread cost beyond this share of the window does not hold it. */
const CONSUMER_SHARE = 1 / 4
const ALL_CONSUMERS_SHARE = 1 / 2
const RAW_MAX = 1024
const CONNECTIONS_MAX = 2
const CHALLENGES_MAX = 8
const RESPONSES_MAX = 4
/** Connections of one peer that have shown no session yet, or whose session is over. */
const STRANGERS_MAX = 2 * CARRIER_DIALS_MAX
/** What was dialed while a machine slept is closed within this. */
const WAKING_TIME = 15_000_000
/** Codes that say: the peer broke the protocol. Nobody here does. */
const accusations = ['close_protocol', 'close_frame_encoding', 'close_flow_control', 'close_limit'] as const

/** After every turn of a node: its bounds, its sums, and its credit. */
export function checkNode(machine: Machine, node: Node): void {
  const name = `machine ${machine.index}`
  for (const accusation of accusations) hold(node.counters.get(accusation) === 0, () => `${name} accuses its peer: ${accusation}`)
  hold(node.raw.size <= RAW_MAX, () => `${name}: ${node.raw.size} raw datagrams wait`)
  hold(node.events.size === 0, () => `${name}: ${node.events.size} events were not drained`)
  const peers = machine.world.machines.length - 1
  const connections = machine.node.connections
  const meanwhile = machine.world.scheduler.now < machine.wokeAt + WAKING_TIME ? 2 : 1
  hold(connections <= meanwhile * peers * (CONNECTIONS_MAX + STRANGERS_MAX), () => `${name}: ${connections} connections with ${peers} peers`)
  let held = machine.arenaAtStart
  for (const connection of node.sessions) {
    if (connection === undefined) continue
    held += connection.state.memory.used
    checkSession(name, connection.state, machine)
  }
  // Messages of sessions that are over may still wait for their readers.
  hold(node.arena.used >= held || machine.arenaAtStart === 0, () => `${name}: the arena says ${node.arena.used} bytes are used, its holders ${held}`)
}

function checkSession(name: string, state: SessionState, machine: Machine): void {
  const { config } = state.host
  let messages = 0
  let bytes = 0
  let busy = 0
  let owed = 0
  let starving = 0
  let counted = 0
  for (const channel of state.channels.values()) {
    messages += channel.accountedMessages
    bytes += channel.accountedBytes
    if (channel.accountedMessages > 0) busy++
    if (channel.writableOwed) owed++
    if (channel.writableOwed && channel.accountedMessages === 0) starving++
    counted += channel.counted
    checkChannel(name, state, channel, machine)
  }
  hold(messages === state.queuedMessages && bytes === state.queuedBytes && busy === state.busyChannels && owed === state.owed && starving === state.starving, () =>
    `${name}: totals of queues ${state.queuedMessages}, ${state.queuedBytes}, ${state.busyChannels}, ${state.owed}; of channels ${messages}, ${bytes}, ${busy}, ${owed}`)
  hold(messages <= config.queueMessages, () => `${name}: ${messages} messages queued`)
  hold(bytes <= config.queueBytes || messages === 1, () => `${name}: ${bytes} bytes queued`)
  hold(state.charged <= state.sendLimit || state.phase === 'dialing', () => `${name}: charged ${state.charged} of a session window of ${state.sendLimit}`)
  hold(counted <= state.counted && state.counted <= state.receiveLimit && state.consumed <= state.counted, () => `${name}: consumed ${state.consumed}, counted ${state.counted}, limit ${state.receiveLimit}`)
  let excess = 0
  for (const share of state.shares.values()) {
    hold(share.unread >= 0, () => `${name}: consumer ${share.consumer} has ${share.unread} unread`)
    excess += Math.max(0, share.unread - config.maxData * Math.min(CONSUMER_SHARE, ALL_CONSUMERS_SHARE / state.shareCount))
  }
  hold(Math.abs(excess - state.excess) < 1, () => `${name}: excess of consumers ${state.excess}, by their shares ${excess}`)
  // What was given stays given, also when the consumers' excess falls later: so this is a bound on every step, not an equation.
  hold(state.receiveLimit <= state.counted + config.maxData + state.excess || state.phase === 'closed', () => `${name}: a window beyond ${config.maxData} is open`)
  hold(state.sent.tracked <= 2 * TRACKED_MAX && state.sent.base <= state.sent.firstSent && state.sent.firstSent <= state.sent.next, () => `${name}: sent packets ${state.sent.base}, ${state.sent.firstSent}, ${state.sent.next}`)
  hold(state.paths.length <= PATHS_MAX, () => `${name}: ${state.paths.length} paths`)
  checkPaths(name, state)
  for (const keys of [state.current, state.previous]) {
    if (keys !== undefined) hold(keys.acks.count <= ACK_RANGES_KEPT, () => `${name}: ${keys.acks.count} ack ranges`)
  }
}

/** WIRE.md §5 and §7: what a session holds of paths, dials, addresses and open questions. */
function checkPaths(name: string, state: SessionState): void {
  const { paths, carriers, remotes } = state
  for (const kind of ['tcp', 'ble'] as const) {
    const connections = paths.filter((path) => path?.kind === kind).length
    hold(connections <= CONNECTIONS_MAX, () => `${name}: ${connections} connections of one session by ${kind}`)
  }
  for (const dials of Object.values(carriers)) hold((dials?.pending.length ?? 0) <= CARRIER_DIALS_MAX, () => `${name}: ${dials?.pending.length} connections are dialed at once`)
  hold((remotes?.all.length ?? 0) <= REMOTES_MAX, () => `${name}: ${remotes?.all.length} addresses of one peer`)
  let open = 0
  for (const path of paths) {
    if (path === undefined) continue
    open += path.validation.open
    hold(path.validation.open <= CHALLENGES_OPEN && path.responses.length <= RESPONSES_MAX, () => `${name}: ${path.validation.open} challenges open on one path, ${path.responses.length} responses owed`)
    hold(path.validation.validated || path.validation.budget >= 0 || path.reliable, () => `${name}: ${-path.validation.budget} bytes too many went to an address that proved nothing`)
  }
  hold(open <= CHALLENGES_MAX, () => `${name}: ${open} challenges are open`)
}

function checkChannel(name: string, state: SessionState, channel: Channel, machine: Machine): void {
  const say = (what: string): string => `${name}, channel ${channel.id}: ${what}`
  hold(!channel.reliable || channel.count.charged <= channel.sendLimit, () => say(`charged ${channel.count.charged} of a window of ${channel.sendLimit}`))
  hold(channel.counted <= channel.receiveLimit && channel.consumed <= channel.counted, () => say(`consumed ${channel.consumed}, counted ${channel.counted}, limit ${channel.receiveLimit}`))
  hold(channel.receiveLimit <= channel.consumed + state.host.config.maxChannelData, () => say(`a window of ${channel.receiveLimit - channel.consumed} is open`))
  // New data may wait for credit or for ACCEPT; lost data waits for nothing.
  hold(channel.state === 'closed' || channel.streams.every(({ queue, scheduled }) => !queue.hasLost || scheduled), () => say('has something to send again and does not stand in its lane'))
  const side = machine.sides.get(channel.handle)
  if (side !== undefined) checkSide(side, channel, say)
}

function checkSide(side: Side, channel: Channel, say: (what: string) => string): void {
  const { outgoing, incoming } = side
  const open = outgoing.sentCost - outgoing.releasedCost - channel.released
  const { queuedBytes, queuedMessages } = channel
  hold(open >= queuedBytes && open <= queuedBytes + MESSAGE_COST * queuedMessages, () =>
    say(`${outgoing.sentCost} were queued, ${outgoing.releasedCost} given back, ${queuedBytes} bytes of ${queuedMessages} messages are left`))
  hold(channel.received === incoming.received, () => say(`${channel.received} messages handed over, the app saw ${incoming.received}`))
  if (side.state !== 'open') return
  const consumed = incoming.receivedCost - side.unread
  const credit = side.reader.credit + consumed - incoming.receivedCost
  hold(channel.receiver.credit === credit, () => say(`delivery credit ${channel.receiver.credit}, by what the app took ${credit}`))
}

/** Now and then, since it looks at every packet: what is in flight is what the packets say. */
export function checkFlight(machine: Machine, node: Node): void {
  for (const connection of node.sessions) {
    if (connection === undefined) continue
    const { sent, paths } = connection.state
    for (const path of paths) {
      if (path !== undefined) checkPathFlight(`machine ${machine.index}`, path, sent)
    }
  }
}

function checkPathFlight(name: string, path: SessionPath, sent: SessionState['sent']): void {
  let bytes = 0
  let count = 0
  for (let order = sent.firstSent; order < sent.next; order++) {
    if (!sent.inFlight(order) || sent.path(order) !== path.slot) continue
    bytes += sent.size(order)
    count++
  }
  const { inFlight, outstanding } = path.recovery
  hold(bytes === inFlight && count === outstanding, () => `${name}: ${inFlight} bytes of ${outstanding} packets in flight, the packets say ${bytes} and ${count}`)
}

/** What one side believes of the other's windows was said by the other. */
export function checkPair(a: SessionState, b: SessionState): void {
  hold(a.sendLimit <= b.receiveLimit, () => `a session sends up to ${a.sendLimit}, its peer takes up to ${b.receiveLimit}`)
  hold(b.counted <= a.charged, () => `a session counts ${b.counted} received, its peer charged ${a.charged}`)
  for (const channel of a.channels.values()) {
    const peer = b.channels.get(channel.id)
    if (peer === undefined || !channel.reliable) continue
    hold(peer.counted <= channel.count.charged, () => `channel ${channel.id}: ${peer.counted} counted, ${channel.count.charged} charged`)
  }
}

/** Everything was said and every session is over: nothing is left of any of it. */
export function checkReleased(machine: Machine, node: Node): void {
  const name = `machine ${machine.index}`
  const { endpoint } = machine.node
  hold(endpoint.arena.used === machine.arenaAtStart, () => `${name}: ${endpoint.arena.used - machine.arenaAtStart} bytes of the arena are still held`)
  hold(machine.provider.live === 0, () => `${name}: ${machine.provider.live} transport keys are still held`)
  hold(node.channels.size === 0 && machine.sides.size === 0, () => `${name}: ${node.channels.size} channels are left, apps know ${machine.sides.size}`)
  hold(node.sessionCount === 0, () => `${name}: ${node.sessionCount} sessions are left`)
  const { indexes, raw, halfOpen, reassembly, queue } = endpoint.tables()
  hold(indexes === 0 && raw === 0 && halfOpen === 0 && reassembly === 0 && queue === 0, () => `${name}: tables are not empty: ${JSON.stringify(endpoint.tables())}`)
  hold(machine.node.slabsOut === 0, () => `${name}: ${machine.node.slabsOut} slabs are out`)
}
