/** What the daemon tells of the NATs it is behind: `stun` and `portMapping` of `status`, and the answer to `netcheck`. */

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

/** Where a server sees this node's UDP socket, or the port that it listens on by TCP. */
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
  /** The same by TCP, asked only where UDP does not tell: no answer by UDP, or another port outside than inside. */
  readonly tcp: IpcStunTcp
}

export interface IpcStunTcp {
  /** false: nothing can be asked, since dials cannot leave from the port that is listened on (no native addon), or nothing listens. */
  readonly able: boolean
  readonly asking: boolean
  readonly reflexive: readonly IpcReflexive[]
}

/** works: some server answers · silent: none does · unreachable: the system does not send there · no_address: this machine has none of the family · no_server: none is known that has one · off: nobody is asked */
export const netcheckStates = ['works', 'silent', 'unreachable', 'no_address', 'no_server', 'off'] as const
export type NetcheckState = (typeof netcheckStates)[number]

/** netcheck: it was asked after as RFC 5780 says · servers: what two servers saw was compared · told: the peer says so · seen: where the peer is seen was compared with what it was told · none: nobody knows */
export const natSources = ['netcheck', 'servers', 'told', 'seen', 'none'] as const

/** How the NAT before a node treats UDP over IPv4: the classes of RFC 4787, as in `netcheck`. */
export interface IpcNat {
  readonly mapping: string
  readonly filtering: string
  readonly word: string
  readonly from: (typeof natSources)[number]
}

/** running: it is being measured · measured · unsupported: no server answers elsewhere than where it was asked (RFC 5780 RESPONSE-PORT) · silent: none answers, or none any more · off: nobody is asked */
export const lifetimeStates = ['running', 'measured', 'unsupported', 'silent', 'off'] as const

/** How long a NAT keeps a mapping by which nothing goes. */
export interface IpcLifetime {
  readonly state: (typeof lifetimeStates)[number]
  /** After so many seconds it was still there; 0: not known. */
  readonly aliveS: number
  /** After so many it was gone; absent: it never was. */
  readonly goneS?: number
}

/** off: nobody is asked · unknown: nobody has been asked yet · answer: some server does · silent: none does, or none is found */
export const stunStates = ['off', 'unknown', 'answer', 'silent'] as const

export interface IpcOwnNat extends IpcNat {
  readonly servers: (typeof stunStates)[number]
  /** It has an address of IPv6 that the world can reach, firewalls aside. */
  readonly ipv6: boolean
  /** Where it was asked for on this network. */
  readonly lifetime?: IpcLifetime
  /** Seconds between keep-alives over UDP, where that is less than is configured. */
  readonly keepAliveS?: number
}

export interface NetcheckServer {
  readonly name: string
  readonly address: string
  readonly outcome: 'answered' | 'refused' | 'silent' | 'unreachable'
  readonly rttMs?: number
  /** Where it saw us. */
  readonly mapped?: string
  /** It speaks RFC 5780. */
  readonly behaviour: boolean
}

/** UDP by one IP family, asked from fresh sockets. */
export interface NetcheckFamily {
  readonly state: NetcheckState
  readonly mapped?: string
  /** The port outside is the port here. */
  readonly portKept?: boolean
  readonly mapping: string
  readonly filtering: string
  /** What people call it: full cone, symmetric, … */
  readonly word: string
  /** Two sockets here reach each other by their outside addresses. */
  readonly hairpin?: boolean
  /** What it means for who wants to be reached, in a sentence. */
  readonly meaning: string
  readonly servers: readonly NetcheckServer[]
}

/** works: some server answers by TCP · silent: none does · no_server: none is known · off: nobody is asked */
export const netcheckTcpStates = ['works', 'silent', 'no_server', 'off'] as const

/** TCP to the same servers, asked from a fresh port. */
export interface NetcheckTcp {
  readonly state: (typeof netcheckTcpStates)[number]
  readonly mapped?: string
  readonly portKept?: boolean
  /** Who said so. */
  readonly server?: string
  /** To connect, and to be answered. */
  readonly connectMs?: number
  /** Dials leave from the port that is listened on, so that two routers can be passed by TCP: only with the native addon. */
  readonly punching: boolean
}

export interface NetcheckInterface {
  readonly name: string
  readonly address: string
  /** What the address is for: global, private, shared (behind a provider's NAT), link-local, loopback. */
  readonly kind: string
}

export interface NetcheckResult {
  /** Unix milliseconds. */
  readonly at: number
  readonly tookMs: number
  readonly interfaces: readonly NetcheckInterface[]
  readonly udp4: NetcheckFamily
  readonly udp6: NetcheckFamily
  readonly tcp: NetcheckTcp
  /** Configured servers whose names have no address. */
  readonly unresolved: readonly string[]
  /** Whether a network makes people log in first: a guess. */
  readonly portal: 'none' | 'likely' | 'unknown'
  /** Where it was asked for. */
  readonly lifetime?: IpcLifetime
  /** As `status` has it, once the servers have answered. */
  readonly portMapping: IpcPortMapping
}

/** disabled: by configuration · off: no router to ask, or no need · searching · mapped · none: nobody answers, or the answer is no · stopped: the daemon ends */
export const portMappingStates = ['disabled', 'off', 'searching', 'mapped', 'none', 'stopped'] as const
export const portMappingProtocols = ['pcp', 'nat-pmp', 'upnp'] as const

/** Ports of this node that its router lets in. */
export interface IpcPortMapping {
  readonly state: (typeof portMappingStates)[number]
  readonly protocol?: (typeof portMappingProtocols)[number]
  readonly router?: string
  readonly mapped: readonly { readonly transport: 'udp' | 'tcp'; readonly external: string; readonly leftMs: number }[]
  /** Why there is none. */
  readonly reason?: string
}
