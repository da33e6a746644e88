import { ADDRESS_SIZE, equalAddress, isIPv4, portOf } from '../base/address.ts'
import { addressClass } from '../base/address-class.ts'
import { after, second, type Instant } from '../base/time.ts'
import type { Candidate, CandidateKind } from '../wire/candidates-frame.ts'
import { sameHost } from './remotes.ts'

/** [P] How many of a peer's candidates are asked: as many addresses as are kept of it. */
export const ASKED_MAX = 16
/** [P] What we tell holds until we tell something else. */
const TTL_S = 3600
/** WIRE.md §5: below this only these ports. */
const PORT_MIN = 1024
const LOW_PORTS: readonly number[] = [443, 3478]
/** WIRE.md §5. */
const priorities: Readonly<Partial<Record<CandidateKind, number>>> = { host: 200, mapped: 180, reflexive: 160, observed: 140, 'tcp-host': 120, 'tcp-mapped': 120 }
const IPV6_BONUS = 10
/** Bytes of a network that two addresses share who are on the same link: /24 and /64, by the 18-byte form. */
const PREFIX_IPV4 = 15
const PREFIX_IPV6 = 8

/** A candidate of our own, as peers are told of it. */
export function ownCandidate(kind: CandidateKind, address: Uint8Array): Candidate {
  return { kind, priority: (priorities[kind] ?? 0) + (isIPv4(address) ? 0 : IPV6_BONUS), ttlS: TTL_S, address: address.slice(0, ADDRESS_SIZE) }
}

/** What peers are told, the best first; `generation` grows with each change. */
export interface OwnCandidates {
  readonly generation: number
  readonly candidates: readonly Candidate[]
}

export function sameCandidates(a: readonly Candidate[], b: readonly Candidate[]): boolean {
  return a.length === b.length && a.every(({ kind, address }, i) => kind === b[i]!.kind && equalAddress(address, 0, b[i]!.address, 0))
}

/**
 * Whether a datagram may go to an address because a peer names it. Its list is a stranger's request to send packets somewhere: to hosts of other
 * networks only by ports where such programs are, to private ones only where we are in that network, or behind the same NAT as the peer.
 */
export function mayAskAt(address: Uint8Array, theirs: readonly Candidate[], ours: readonly Candidate[]): boolean {
  const port = portOf(address)
  if (port < PORT_MIN && !LOW_PORTS.includes(port)) return false
  if (ours.some((own) => equalAddress(own.address, 0, address, 0))) return false
  switch (addressClass(address)) {
    case 'global':
      return true
    case 'private':
    case 'shared': {
      const near = ours.some((own) => own.kind === 'host' && sameNetwork(own.address, address))
      return near || theirs.some((their) => isSeen(their) && ours.some((own) => isSeen(own) && sameHost(own.address, their.address)))
    }
    default:
      return false
  }
}

/** Where others see a node: by UDP, or by TCP where UDP gets no answer. */
function isSeen({ kind }: Candidate): boolean {
  return kind === 'reflexive' || kind === 'tcp-mapped'
}

/** On the same link, as far as the usual lengths of prefixes tell. */
export function sameNetwork(a: Uint8Array, b: Uint8Array): boolean {
  if (isIPv4(a) !== isIPv4(b)) return false
  const length = isIPv4(a) ? PREFIX_IPV4 : PREFIX_IPV6
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return false
  return true
}

/** What one peer told of itself in one session. */
export class PeerCandidates {
  #generation = -1
  #candidates: readonly Candidate[] = []
  #at: Instant | undefined

  /** Takes a list over, unless it is older than what is known. */
  take(now: Instant, generation: number, candidates: readonly Candidate[]): boolean {
    if (generation <= this.#generation) return false
    this.#generation = generation
    this.#candidates = candidates
    this.#at = now
    return true
  }

  /** Addresses of UDP, or of TCP, that hold and may be asked, the peer's wish of an order first, at most {@link ASKED_MAX}. */
  asked(now: Instant, ours: readonly Candidate[], by: 'udp' | 'tcp' = 'udp'): readonly Uint8Array[] {
    const at = this.#at
    if (at === undefined) return []
    const live = this.#candidates.filter(({ ttlS }) => now < after(at, ttlS * second))
    return live.filter(({ kind, address }) => (kind === 'tcp-host' || kind === 'tcp-mapped') === (by === 'tcp') && mayAskAt(address, live, ours))
      .sort((a, b) => b.priority - a.priority).slice(0, ASKED_MAX).map(({ address }) => address)
  }

  /** Where others see the peer, as far as it said so. */
  get seen(): readonly Uint8Array[] {
    return this.#candidates.filter(({ kind }) => kind === 'reflexive' || kind === 'mapped').sort((a, b) => a.priority < b.priority ? 1 : -1).map(({ address }) => address)
  }

  /** All that was told last, also what may not be asked. */
  get all(): readonly Candidate[] {
    return this.#candidates
  }
}
