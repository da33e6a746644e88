/** What the core knows of the ways to a peer, as the document that `peer.why` answers with. Pure: one snapshot and one moment give one document. */
import { equalAddress, formatAddress } from '../../core/base/address.ts'
import { millisecond, type WallTime } from '../../core/base/time.ts'
import { ATTEMPTS_MAX, DECISIONS_MAX, type Attempt, type BirthdayView, type PathDecision, type PathView } from '../../core/endpoint/contract.ts'
import type { PeerWhy, WhyPath } from '../../core/endpoint/why-contract.ts'
import { allows } from '../../core/path/path-policy.ts'
import type { IpcOwnNat, IpcPortMapping } from '../../core/wire/ipc/ipc-nat.ts'
import type { PeerWhyResult, WhyAttempt, WhyCurrent, WhyEvent, WhyGuess, WhyPathInfo, WhyPlace } from '../../core/wire/ipc/ipc-why.ts'
import { encodePeerId } from '../../core/wire/peer-id.ts'
import { policyResult } from '../peer-policy.ts'
import type { BleLinkFacts } from '../../net/ble/ble-contract.ts'
import { adviceFor } from './why-advice.ts'
import { natsOf } from './why-nat.ts'
import { PAIRS_MAX, pairsOf } from './why-pairs.ts'
import { becauseOf, decisionText } from './why-words.ts'

/** What the daemon knows besides the core of the way out. */
export interface Outside {
  readonly nat: IpcOwnNat
  readonly portMapping: IpcPortMapping
  /** The configuration names an address. */
  readonly advertises: boolean
  readonly sessions: number
  /** Ports are guessed where that helps. */
  readonly guesses: boolean
}

/** What is known of a Bluetooth link besides what a session sees of it. */
export interface LinkRadio {
  linkFacts(address: Uint8Array): BleLinkFacts | undefined
}

const noRadio: LinkRadio = { linkFacts: () => undefined }

export function whyDocument(why: PeerWhy, outside: Outside, at: WallTime, radio: LinkRadio = noRadio): PeerWhyResult {
  const { policy, from } = policyResult(why.policy, why.policyFrom)
  const current = why.paths.find(({ active }) => active)
  const reason = current === undefined && why.state !== 'dialing' ? endOf(why.decisions) : undefined
  const facts = {
    id: encodePeerId(why.id), ...(why.name === undefined ? {} : { name: why.name }), at, state: why.state, since: why.since, ...(reason === undefined ? {} : { reason }),
    ...(current === undefined ? {} : { path: currentPath(current) }), policy: { ...policy, from }, paths: why.paths.filter(({ probing }) => !probing).map((path) => pathInfo(path, radio)), attempts: attemptsOf(why),
    probes: why.asked.map(({ address, probes, refused, rest }) => ({ address: formatAddress(address), unanswered: probes, ...(refused === undefined ? {} : { refused }), ...(rest === undefined ? {} : { restMs: Math.round(rest / millisecond) }) })),
    ...(why.dial === undefined ? {} : { dial: { since: why.dial.since, loud: why.dial.loud, ...(why.dial.next === undefined ? {} : { nextMs: Math.round(why.dial.next / millisecond) }) } }),
    nat: natsOf(why, outside.nat, outside.guesses), ...(why.birthday === undefined ? {} : { guess: guessOf(why.birthday) }), pairs: pairsOf(why), history: why.decisions.map(eventOf), bounds: { history: DECISIONS_MAX, attempts: ATTEMPTS_MAX, pairs: PAIRS_MAX },
  }
  return { ...facts, advice: adviceFor(facts, { inRoster: why.inRoster, udp: why.udp, tcp: why.tcp }, outside) }
}

function guessOf({ role, target, startedAt, endedAt, outcome, sent, heard }: BirthdayView): WhyGuess {
  return { role, target: formatAddress(target), startedAt, ...(endedAt === undefined ? {} : { endedAt }), outcome, sent, heard }
}

function currentPath({ kind, address, takenAt, openedAt, rule = 'first' }: WhyPath): WhyCurrent {
  return { kind, address: formatAddress(address), since: takenAt ?? openedAt, rule, because: becauseOf(rule) }
}

function pathInfo(path: WhyPath, radio: LinkRadio): WhyPathInfo {
  const { kind, address, active, allowed, standing, rtt, loss, sent, lost, datagramSize, openedAt, provenAt, silent } = path
  return {
    kind, address: formatAddress(address), state: allowed ? standing : 'policy', active, ...(rtt === undefined ? {} : { rttMs: rtt / millisecond }), loss, sent, lost, mtu: datagramSize,
    openedAt, ...radioOf(path, radio), ...(provenAt === undefined ? {} : { answeredAt: provenAt }), ...(silent === undefined ? {} : { silentMs: Math.round(silent / millisecond) }),
  }
}

function radioOf({ kind, address }: WhyPath, radio: LinkRadio): Pick<WhyPathInfo, 'radio'> {
  const facts = kind === 'ble' ? radio.linkFacts(address) : undefined
  return facts === undefined ? {} : { radio: facts }
}

/** What was tried, and of the known addresses what was not, because the policy forbids it. */
function attemptsOf(why: PeerWhy): WhyAttempt[] {
  const tried = why.attempts.map((attempt): WhyAttempt => attemptInfo(attempt))
  const kinds = [...(why.udp ? ['udp' as const] : []), ...(why.tcp ? ['tcp' as const] : [])]
  for (const kind of kinds) {
    if (allows(why.policy, kind)) continue
    for (const address of why.addresses) {
      if (why.attempts.some((attempt) => attempt.transport === kind && equalAddress(attempt.address, 0, address, 0))) continue
      tried.push({ kind, address: formatAddress(address), result: 'policy', count: 0 })
    }
  }
  return tried
}

function attemptInfo({ transport, address, cause, count, firstAt, lastAt, result }: Attempt): WhyAttempt {
  return { kind: transport, address: formatAddress(address), result, count, firstAt, lastAt, cause }
}

function eventOf(decision: PathDecision): WhyEvent {
  const { at } = decision
  const text = decisionText(decision)
  switch (decision.kind) {
    case 'path':
      return { at, what: 'move', text, ...placeOf('from', decision.from), ...placeOf('to', decision.to), reason: decision.rule }
    case 'end':
      return { at, what: 'end', text, reason: decision.reason, ...countOf(decision.count) }
    case 'policy':
      return { at, what: 'policy', text }
    default: {
      const place: WhyPlace = { kind: decision.transport, address: formatAddress(decision.address) }
      const reason = 'cause' in decision ? { reason: decision.cause } : {}
      return { at, what: decision.kind, text, to: place, ...reason, ...('count' in decision ? countOf(decision.count) : {}) }
    }
  }
}

function placeOf<Name extends 'from' | 'to'>(name: Name, view: PathView | undefined): Partial<Record<Name, WhyPlace>> {
  const place: Partial<Record<Name, WhyPlace>> = {}
  if (view !== undefined) place[name] = { kind: view.kind, address: formatAddress(view.address) }
  return place
}

function countOf(count: number): { readonly count?: number } {
  return count === 1 ? {} : { count }
}

/** Why the last session or dial ended, if nothing moved since. */
function endOf(decisions: readonly PathDecision[]): string | undefined {
  const last = decisions.findLast(({ kind }) => kind === 'end' || kind === 'path')
  return last?.kind === 'end' ? last.reason : undefined
}
