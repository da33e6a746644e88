/** The NATs before two nodes, and what they let one hope for. Pure. */
import { equalAddress, isIPv4 } from '../../core/base/address.ts'
import { addressClass } from '../../core/base/address-class.ts'
import type { PeerWhy } from '../../core/endpoint/why-contract.ts'
import { sameHost } from '../../core/path/remotes.ts'
import { isHardMapping, natWord, type FilteringClass, type MappingClass, type NatBehaviour } from '../../core/stun/nat-classes.ts'
import type { IpcNat, IpcOwnNat } from '../../core/wire/ipc/ipc-nat.ts'
import type { WhyNats, whyOutlooks } from '../../core/wire/ipc/ipc-why.ts'

export type Outlook = (typeof whyOutlooks)[number]

export function natInfo(behaviour: NatBehaviour, from: IpcNat['from']): IpcNat {
  return { ...behaviour, word: natWord(behaviour), from }
}

export const unknownNat: IpcNat = natInfo({ mapping: 'unknown', filtering: 'unknown' }, 'none')

/** What is known of the NAT before the peer: by where its own addresses and the one it is seen at differ, else by what it said of itself. */
export function peerNat({ told, paths, whereabouts }: Pick<PeerWhy, 'told' | 'paths' | 'whereabouts'>): IpcNat {
  const seen = paths.filter(({ kind, standing, address, provenAt }) => kind === 'udp' && standing === 'proven' && provenAt !== undefined && isIPv4(address))
  const is = (type: string, test: (a: Uint8Array, b: Uint8Array) => boolean): boolean => told.some(({ candidate }) => candidate.kind === type && seen.some(({ address }) => test(candidate.address, address)))
  const equal = (a: Uint8Array, b: Uint8Array): boolean => equalAddress(a, 0, b, 0)
  if (is('host', (own, at) => equal(own, at) && addressClass(at) === 'global')) return natInfo({ mapping: 'none', filtering: 'unknown' }, 'seen')
  if (whereabouts?.hard === true) return natInfo({ mapping: 'dependent', filtering: 'unknown' }, 'told')
  // A router that maps a port takes it for everybody: such a port says nothing of others.
  if (is('mapped', equal)) return unknownNat
  if (is('reflexive', equal)) return natInfo({ mapping: 'endpoint-independent', filtering: 'unknown' }, 'seen')
  if (is('reflexive', (own, at) => sameHost(own, at) && !equal(own, at))) return natInfo({ mapping: 'dependent', filtering: 'unknown' }, 'seen')
  return unknownNat
}

/** Whether two nodes that dial each other at the same moment meet by UDP over IPv4. A filter that nobody knows is taken for the strictest. */
export function outlookOf(ours: IpcNat, theirs: IpcNat): Outlook {
  if (letsIn(ours) || letsIn(theirs)) return 'plain'
  if (ours.mapping === 'unknown' || theirs.mapping === 'unknown') return 'unknown'
  const [a, b] = [isHard(ours), isHard(theirs)]
  if (a && b) return 'never'
  if (!a && !b) return 'plain'
  const easy = a ? theirs : ours
  // To it the hard one is a known address with another port.
  return easy.filtering === 'address-dependent' ? 'plain' : 'guess'
}

function isHard({ mapping }: IpcNat): boolean {
  return isHardMapping(mapping as MappingClass)
}

/** Everybody may come, at an address that can be told. */
function letsIn({ mapping, filtering }: IpcNat): boolean {
  return (filtering as FilteringClass) === 'endpoint-independent' && (mapping === 'none' || mapping === 'endpoint-independent')
}

const outlookTexts: Readonly<Record<Outlook, string>> = {
  plain: 'By UDP they meet when both dial at the same time.',
  guess: 'One of the two is seen at another port by each destination, and the other one lets in only ports that it knows: by UDP they meet by guessing ports, which takes some seconds and may take several tries.',
  never: 'Both are seen at another port by each destination (symmetric): neither can tell the other where it will be, and there is no direct way by UDP between the two.',
  unknown: 'Whether they can meet by UDP is not known: that takes the class of both.',
}

/** Where the operator turned guessing off. */
const NO_GUESSES = 'One of the two is seen at another port by each destination, and the other one lets in only ports that it knows: by UDP they would meet by guessing ports, which is turned off here ([udp] guess_ports = false).'

export function natsOf(why: PeerWhy, ours: IpcOwnNat, guesses = true): WhyNats {
  const theirs = peerNat(why)
  const hoped = outlookOf(ours, theirs)
  const off = hoped === 'guess' && !guesses
  const outlook = off ? 'never' : hoped
  const ipv6 = [...why.told.map(({ candidate }) => candidate.address), ...why.addresses].some((address) => !isIPv4(address) && addressClass(address) === 'global')
  return { ours, theirs: { ...theirs, ipv6 }, outlook, between: isOutside(why), text: off ? NO_GUESSES : outlookTexts[outlook] }
}

function isOutside({ addresses, told, whereabouts, attempts, paths }: PeerWhy): boolean {
  const all = [...addresses, ...(whereabouts?.addresses ?? []), ...told.map(({ candidate }) => candidate.address), ...attempts.map(({ address }) => address), ...paths.map(({ address }) => address)]
  return all.some((address) => addressClass(address) === 'global')
}
