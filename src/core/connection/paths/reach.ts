import { ADDRESS_SIZE } from '../../base/address.ts'
import { toBinaryString } from '../../base/bytes.ts'
import type { LinkId } from '../../base/domain.ts'
import { after, millisecond, never, second, toWallTime, type Duration, type Instant, type Now } from '../../base/time.ts'
import type { RefusalReason } from '../../path/attempts.ts'
import { allows, type PathPolicy } from '../../path/path-policy.ts'
import { applyToDial, hurryCarriers } from '../dialing/dial.ts'
import { doubt } from './liveness.ts'
import { dropForbidden, forgetPath, reconsider, remotesOf, switchTo } from './path-switch.ts'
import { addCandidate, addHeardPath, findPath, proved } from './paths.ts'
import { unpark } from './resting.ts'
import { candidatesOf } from './peer-candidates.ts'
import { viewOf, viewsOf } from './selection.ts'
import type { SessionState } from '../state.ts'

/** Shortest B (suite 1): authenticated bytes that the initiator has received from where B came. */
const RESPONSE_SIZE_MIN = 276
/** What the policy forbids carries the traffic for so long after the wish, while something else is looked for. */
const POLICY_TIME: Duration = 3 * second
/** A peer that goes on by a forbidden way is shown the other one again after this, doubling, so many times in all. */
const INSIST_TIME: Duration = 500 * millisecond
const INSIST_MAX = 8

/** Where a handshake's confirming datagram or its B came from, and what that proves. */
export interface HandshakeSource {
  readonly link: LinkId
  readonly address: Uint8Array
  /** The handshake used this one address only, or its mac2 verified there, or it came over a connection. */
  readonly validated: boolean
  readonly rtt: Duration | undefined
  /** Where else this handshake went or came from: used if this address turns out to be nobody's. */
  readonly others: readonly { readonly link: LinkId; readonly address: Uint8Array }[]
}

/** The handshake came this way: a path, and the one in use if there is none. */
export function useSource(state: SessionState, now: Now, source: HandshakeSource, initiator: boolean): void {
  const path = findPath(state, source.link, source.address, 0) ?? addHeardPath(state, now, source.link, source.address, 0)
  if (path === undefined) return
  if (initiator) path.validation.bytesReceived += RESPONSE_SIZE_MIN
  if (source.rtt !== undefined && !path.recovery.rtt.hasSample) path.recovery.rtt.update(source.rtt, 0)
  if (source.validated) {
    path.validation.validate()
    proved(state, now, path, false)
  } else {
    for (const { link, address } of source.others) addCandidate(state, now, link, address)
  }
  // Both sides challenge in their first datagram: a raced copy from a false address never answers.
  if (!path.validation.pending) path.validation.begin()
  if (state.active === undefined) switchTo(state, now, path, 'first')
  if (path.reliable) for (const { address } of source.others) remotesOf(state).add(address, false)
}

/** No path is left: the session is kept, its queues too, and the peer is dialed. */
export function lostPaths(state: SessionState, now: Now, rule: 'black_hole' | 'policy' = 'black_hole'): void {
  const before = state.active
  const from = before === undefined ? undefined : viewOf(state, now.mono, before)
  const candidates = viewsOf(state, now.mono)
  const addresses: Uint8Array[] = []
  for (const path of state.paths) {
    if (path === undefined) continue
    if (path.dialable) addresses.push(path.address)
    forgetPath(state, path)
  }
  for (const { address, proven } of state.remotes?.all ?? []) if (proven) addresses.push(address)
  addresses.push(...candidatesOf(state, now))
  state.active = undefined
  state.probes = 0
  if (state.unreachableSince === never) {
    state.unreachableSince = now.mono
    unpark(state, now)
    if (before !== undefined) {
      state.host.emit({ kind: 'path', peer: state.peer, from: before.address, to: undefined, link: before.kind, rtt: undefined, rule })
      state.host.noteDecision(state.peer, { kind: 'path', at: toWallTime(now.wall), rule, from, to: undefined, candidates })
    }
    state.host.sessionChanged(now, state.peer, rule === 'policy' ? 'policy' : 'timeout')
  }
  state.host.redial(now, state.peer, addresses)
}

/**
 * The system would not send to this address. That ends nothing (anybody may have forged what it heard), but a path in use is doubted
 * at once, and a dial tries TCP without waiting.
 */
export function onRefused(state: SessionState, now: Now, link: LinkId, addresses: ReadonlyMap<string, Uint8Array>, reason: RefusalReason): boolean {
  const concerns = (to: { readonly link: LinkId; readonly address: Uint8Array }): boolean => to.link === link && addresses.has(toBinaryString(to.address))
  let concerned = false
  for (const path of state.paths) {
    if (path === undefined || !concerns(path)) continue
    concerned = true
    const first = path.refusedAt === never
    path.refusedAt = now.mono
    const remote = state.remotes?.find(path.address)
    if (remote !== undefined) remote.refused = reason
    if (first && !path.probing) state.host.noteDecision(state.peer, { kind: 'refused', at: toWallTime(now.wall), transport: path.kind, address: path.address, count: 1 })
    if (!first || path !== state.active) continue
    doubt(state, now.mono, path, now.mono)
    reconsider(state, now)
  }
  const targets = state.dial?.targets.filter(concerns) ?? []
  if (targets.length === 0) return concerned
  for (const { address } of targets) state.host.tried(state.peer)?.ended(toWallTime(now.wall), 'udp', address, reason)
  hurryCarriers(state, now)
  return true
}

/** The user's wish changed. A path that may not be used any more is left as soon as another one is there. */
export function applyPolicy(state: SessionState, now: Now, policy: PathPolicy): void {
  state.policy = policy
  state.insisted = 0
  for (const dials of Object.values(state.carriers)) if (dials !== undefined) dials.nextAt = now.mono
  const { active } = state
  if (active?.reliable === true && allows(policy, 'udp')) {
    const remotes = remotesOf(state)
    for (const known of state.host.addressesOf(state.peer)) remotes.add(known.slice(0, ADDRESS_SIZE), false)
    remotes.hurry(now.mono)
  }
  reconsider(state, now)
  // What carries no traffic and may carry none is of no use.
  for (const path of state.paths) if (path !== undefined && path !== state.active && !allows(policy, path.kind)) dropForbidden(state, now, path)
  if (state.dial?.rekey === false) applyToDial(state, now, policy)
  state.leaveBy = state.active === undefined || allows(policy, state.active.kind) ? never : after(now.mono, POLICY_TIME)
}

/** Whether the path in use is one that the policy forbids, and nothing else came up in time. */
export function isLeft(state: SessionState, now: Instant): boolean {
  if (now < state.leaveBy) return false
  state.leaveBy = never
  return state.phase === 'open' && state.active !== undefined && !allows(state.policy, state.active.kind)
}

/**
 * The peer sends by a way that the policy forbids: its datagrams are dropped, and a PING on the path in use shows it where we are. The
 * first one may fall into a pause of the peer's, later ones are for a peer that came back from a probe of its own.
 */
export function insist(state: SessionState, now: Now): void {
  if (state.active === undefined || state.insisted === INSIST_MAX || now.mono < state.insistAt) return
  state.insistAt = after(now.mono, INSIST_TIME * 2 ** state.insisted++)
  state.pingWanted = true
}

/** Whether some of these addresses could be tried if there were no policy. */
export function policyForbids(state: SessionState, addresses: readonly Uint8Array[]): boolean {
  const { host, policy } = state
  if (!allows(policy, 'udp') && addresses.some((address) => host.linksTo(address).length > 0)) return true
  return !allows(policy, 'tcp') && host.config.tcpAfter < never && addresses.length > 0
}
