import { equalAddress } from '../base/address.ts'

/**
 * How a NAT gives out outside ports, in the words of RFC 4787 §4.1: the same for every destination, one for each address, one for each address
 * and port. none: it gives out none, the address is our own · dependent: one of the last two, and nobody told which.
 */
export const mappingClasses = ['none', 'endpoint-independent', 'address-dependent', 'address-and-port-dependent', 'dependent', 'unknown'] as const
export type MappingClass = (typeof mappingClasses)[number]

/** Whom a NAT or firewall lets in (RFC 4787 §5): everybody, addresses that were sent to, or only such addresses with their ports. */
export const filteringClasses = ['endpoint-independent', 'address-dependent', 'address-and-port-dependent', 'unknown'] as const
export type FilteringClass = (typeof filteringClasses)[number]

/** The words people use; those of RFC 3489 name only some of the pairs. */
export const natWords = ['open', 'firewall', 'full cone', 'restricted cone', 'port-restricted cone', 'symmetric', 'cone', 'unknown'] as const
export type NatWord = (typeof natWords)[number]

export interface NatBehaviour {
  readonly mapping: MappingClass
  readonly filtering: FilteringClass
}

/**
 * RFC 5780 §4.3: where the same socket was seen from the server's own address (`first`), from its other address with the same port, and from its
 * other address and other port. What was not answered is `undefined`.
 */
export function mappingOf(first: Uint8Array, otherAddress: Uint8Array | undefined, otherBoth: Uint8Array | undefined): MappingClass {
  if (otherAddress === undefined) return otherBoth === undefined ? 'unknown' : equalAddress(first, 0, otherBoth, 0) ? 'endpoint-independent' : 'dependent'
  if (equalAddress(first, 0, otherAddress, 0)) return 'endpoint-independent'
  if (otherBoth === undefined) return 'dependent'
  return equalAddress(otherAddress, 0, otherBoth, 0) ? 'address-dependent' : 'address-and-port-dependent'
}

/** RFC 5780 §4.4: whether answers came in from the server's other address and port, and from its other port. */
export function filteringOf(fromOther: boolean, fromOtherPort: boolean): FilteringClass {
  return fromOther ? 'endpoint-independent' : fromOtherPort ? 'address-dependent' : 'address-and-port-dependent'
}

/** What servers at different addresses saw, where none of them speaks RFC 5780: less, but often enough. */
export function mappingBySeveral(seen: readonly Uint8Array[]): MappingClass {
  const [first, ...others] = seen
  if (first === undefined || others.length === 0) return 'unknown'
  return others.every((other) => equalAddress(first, 0, other, 0)) ? 'endpoint-independent' : 'dependent'
}

/** Whether each destination sees another outside port, so that nobody else can be told where we are. */
export function isHardMapping(mapping: MappingClass): boolean {
  return mapping === 'address-dependent' || mapping === 'address-and-port-dependent' || mapping === 'dependent'
}

export function natWord({ mapping, filtering }: NatBehaviour): NatWord {
  switch (mapping) {
    case 'unknown':
      return 'unknown'
    case 'none':
      return filtering === 'endpoint-independent' ? 'open' : filtering === 'unknown' ? 'unknown' : 'firewall'
    case 'endpoint-independent':
      return filtering === 'unknown' ? 'cone' : { 'endpoint-independent': 'full cone', 'address-dependent': 'restricted cone', 'address-and-port-dependent': 'port-restricted cone' }[filtering] as NatWord
    default:
      return 'symmetric'
  }
}
