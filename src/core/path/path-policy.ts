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
export const builtPathKinds = ['udp', 'tcp'] as const
export type PathKind = (typeof builtPathKinds)[number]

export const anyPath: PathPolicy = { prefer: undefined, only: undefined, never: [] }

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
