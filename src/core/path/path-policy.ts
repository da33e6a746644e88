import type { LinkKind } from '../base/domain.ts'

/** What the user wishes about the kinds of path to a peer. */
export interface PathPolicy {
  /** This kind before all others, whatever its tier. */
  readonly prefer: LinkKind | undefined
  /** No other kind at all. */
  readonly only: LinkKind | undefined
  /** None of these. */
  readonly never: readonly LinkKind[]
}

/** Kinds of path that this version has. */
export const builtPathKinds = ['udp', 'tcp', 'ble'] as const
export type PathKind = (typeof builtPathKinds)[number]

export const anyPath: PathPolicy = { prefer: undefined, only: undefined, never: [] }

/** What of a policy contradicts something else in it. */
export interface PolicyFault {
  readonly member: keyof PathPolicy
  readonly against: keyof PathPolicy
  /** Behind the member's name: `must not be …`. */
  readonly message: string
}

export function faultOf({ prefer, only, never }: PathPolicy): PolicyFault | undefined {
  if (only !== undefined && never.includes(only)) return { member: 'only', against: 'never', message: `must not be a kind that never lists, but is "${only}"` }
  if (builtPathKinds.every((kind) => never.includes(kind))) return { member: 'never', against: 'never', message: 'must leave at least one kind of path' }
  if (prefer === undefined) return undefined
  if (never.includes(prefer)) return { member: 'prefer', against: 'never', message: `must not be a kind that never lists, but is "${prefer}"` }
  if (only !== undefined && prefer !== only) return { member: 'prefer', against: 'only', message: `must not be another kind than only, which is "${only}", but is "${prefer}"` }
  return undefined
}

/** Whether paths of this kind may be used. */
export function allows(policy: PathPolicy, kind: LinkKind): boolean {
  return (policy.only === undefined || policy.only === kind) && !policy.never.includes(kind)
}

/** Direct UDP before direct TCP before relays before Bluetooth (DESIGN §6). */
const TIER: Readonly<Record<LinkKind, number>> = { udp: 1, tcp: 2, relay: 3, turn: 3, ble: 4 }

/** Lower is better; what the user prefers is better than all. */
export function tierOf(policy: PathPolicy, kind: LinkKind): number {
  return policy.prefer === kind ? 0 : TIER[kind]
}
