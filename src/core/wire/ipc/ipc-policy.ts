/** Which kinds of path may lead to a peer, as clients say it: `peer.policy`. */

/** Kinds of path that a policy may name, in order of preference. */
export const ipcPathKinds = ['udp', 'tcp', 'ble'] as const
export type IpcPathKind = (typeof ipcPathKinds)[number]
export interface IpcPathPolicy {
  /** This kind before all others. */
  readonly prefer?: IpcPathKind
  /** No other kind. */
  readonly only?: IpcPathKind
  /** None of these. */
  readonly never: readonly IpcPathKind[]
}
/** Without any of `prefer`, `only` and `never` the policy stays as it is; with some of them, those are all of it. */
export interface PeerPolicyParams extends Partial<IpcPathPolicy> {
  readonly id: string
  /** As the configuration says. */
  readonly default?: boolean
}
export interface PeerPolicyRequest {
  readonly id: string
  /** `undefined`: it stays as it is. */
  readonly change: IpcPathPolicy | 'default' | undefined
}
/** The policy in force, and whose word it is. */
export interface PeerPolicyResult {
  readonly policy: IpcPathPolicy
  readonly from: 'peer' | 'config' | 'default'
}
