/** Every pair of addresses by which two nodes may meet, with what came of it. Pure. */
import { equalAddress, formatAddress, isIPv4 } from '../../core/base/address.ts'
import { addressClass } from '../../core/base/address-class.ts'
import type { LinkKind } from '../../core/base/domain.ts'
import type { PeerWhy, WhyPath } from '../../core/endpoint/why-contract.ts'
import { sameNetwork } from '../../core/path/candidates.ts'
import { allows } from '../../core/path/path-policy.ts'
import type { Candidate } from '../../core/wire/candidates-frame.ts'
import type { WhyCandidate, WhyPair } from '../../core/wire/ipc/ipc-why.ts'

/** What is listed at most: of more, those that say least go, which are the ones nobody tried. */
export const PAIRS_MAX = 64

interface Theirs {
  readonly kind: LinkKind
  readonly address: Uint8Array
  readonly type: WhyCandidate['type']
  readonly mayAsk: boolean
}

type Found = Pick<WhyPair, 'result' | 'count' | 'at'>

export function pairsOf(why: PeerWhy): WhyPair[] {
  const pairs = theirsOf(why).map(({ kind, address, type, mayAsk }): WhyPair => {
    const ours = oursFor(kind, address, why.own)
    const { result, count, at } = resultOf(why, kind, address, mayAsk)
    return { kind, ...(ours === undefined ? {} : { ours }), theirs: { address: formatAddress(address), type }, result, count, ...(at === undefined ? {} : { at }) }
  })
  return pairs.sort((a, b) => weight(a) - weight(b)).slice(0, PAIRS_MAX)
}

function weight({ result }: WhyPair): number {
  switch (result) {
    case 'in_use': return 0
    case 'works': return 1
    case 'not_tried': return 3
    case 'not_asked': case 'policy': return 4
    default: return 2
  }
}

/** Each address of the peer once for each kind of path, the kind of address as the peer itself has it where it told. */
function theirsOf({ told, addresses, whereabouts, paths, attempts, asked, udp, tcp }: PeerWhy): Theirs[] {
  const found: Theirs[] = []
  const add = (kind: LinkKind, address: Uint8Array, type: WhyCandidate['type'], mayAsk = true): void => {
    if (!found.some((known) => known.kind === kind && equalAddress(known.address, 0, address, 0))) found.push({ kind, address, type, mayAsk })
  }
  for (const { candidate: { kind, address }, mayAsk } of told) add(kind.startsWith('tcp') ? 'tcp' : 'udp', address, kind, mayAsk || kind.startsWith('tcp'))
  for (const { kind, address } of paths) add(kind, address, 'known')
  for (const { transport, address } of attempts) add(transport, address, 'known')
  for (const { address } of asked) add('udp', address, 'known')
  for (const address of [...addresses, ...(whereabouts?.addresses ?? [])]) {
    if (udp) add('udp', address, 'known')
    if (tcp) add('tcp', address, 'known')
  }
  return found
}

/** What the peer would see us at: in the same network that of an interface there, else what is outside of our NAT. */
function oursFor(kind: LinkKind, theirs: Uint8Array, own: readonly Candidate[]): WhyCandidate | undefined {
  // Radio has addresses of another sort, and no router in between.
  if (kind === 'ble') return undefined
  const alike = own.filter(({ address }) => isIPv4(address) === isIPv4(theirs))
  const near = alike.find((candidate) => candidate.kind === 'host' && sameNetwork(candidate.address, theirs))
  const outside = addressClass(theirs) === 'global' ? (kind === 'tcp' ? ['tcp-mapped', 'tcp-host', 'host'] : ['reflexive', 'observed', 'mapped', 'host']) : [kind === 'tcp' ? 'tcp-host' : 'host']
  const best = near ?? outside.flatMap((type) => alike.find((candidate) => candidate.kind === type) ?? [])[0]
  return best === undefined ? undefined : { address: formatAddress(best.address), type: best.kind }
}

function resultOf(why: PeerWhy, kind: LinkKind, address: Uint8Array, mayAsk: boolean): Found {
  const at = (candidate: { readonly address: Uint8Array }): boolean => equalAddress(candidate.address, 0, address, 0)
  const attempt = why.attempts.find((tried) => tried.transport === kind && at(tried))
  const count = attempt?.count ?? 0
  const path = why.paths.find((candidate) => candidate.kind === kind && !candidate.probing && at(candidate))
  const probe = kind === 'udp' ? why.asked.find(at) : undefined
  if (path !== undefined) return { count, ...ofPath(path, probe?.refused) }
  if (probe?.rest !== undefined) return { result: 'quarantined', count: count + probe.probes }
  if (probe?.refused !== undefined) return { result: probe.refused, count: count + probe.probes }
  if (probe !== undefined && probe.probes > 0) return { result: 'no_answer', count: count + probe.probes, ...(attempt === undefined ? {} : { at: attempt.resultAt }) }
  if (attempt !== undefined) return { result: attempt.result, count, at: attempt.resultAt }
  return { result: allows(why.policy, kind) ? (mayAsk ? 'not_tried' : 'not_asked') : 'policy', count }
}

function ofPath({ active, allowed, standing, openedAt, provenAt }: WhyPath, refused: WhyPair['result'] = 'unreachable'): Omit<Found, 'count'> {
  const others = { proven: 'works', asked: 'waiting', silent: 'silent', quarantined: 'quarantined', refused } as const
  return { result: active ? 'in_use' : !allowed ? 'policy' : others[standing], at: provenAt ?? openedAt }
}
