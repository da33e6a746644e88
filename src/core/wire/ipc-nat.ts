/** What the daemon tells of the NATs it is behind: the `stun` of `status`, and the answer to `netcheck`. */

/** unasked: none was needed · answers · silent: it did not answer lately · resting: it failed too often, and is left alone · unresolved: its name has no address yet */
export const stunServerStates = ['unasked', 'answers', 'silent', 'resting', 'unresolved'] as const
export type IpcStunServerState = (typeof stunServerStates)[number]

export interface IpcStunServer {
  /** As it is configured. */
  readonly name: string
  readonly address?: string
  readonly state: IpcStunServerState
  readonly rttMs?: number
}

/** Where a server sees this node's UDP socket. */
export interface IpcReflexive {
  readonly address: string
  readonly server: string
  readonly ageMs: number
}

export interface IpcStunStatus {
  /** false: switched off, and nobody is asked. */
  readonly enabled: boolean
  /** An answer is waited for. */
  readonly asking: boolean
  readonly servers: readonly IpcStunServer[]
  /** One of each family at most. */
  readonly reflexive: readonly IpcReflexive[]
}
