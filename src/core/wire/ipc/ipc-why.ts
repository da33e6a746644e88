/** The answer to `peer.why`: where the traffic with a peer goes, why, what else was tried, and what would help. Times are Unix milliseconds. */
import type { IpcNat, IpcOwnNat } from './ipc-nat.ts'
import type { IpcPathPolicy, PeerPolicyResult } from './ipc-policy.ts'

/** Kind of path and address, as in `udp 192.0.2.1:7000`. */
export interface WhyPlace {
  readonly kind: string
  readonly address: string
}

/**
 * proven: it answered lately · asked: it has yet to answer · silent: it does not answer · refused: the system does not send there · quarantined: it
 * answers probes, but lost what was sent there · policy: the policy forbids it
 */
export const whyPathStates = ['proven', 'asked', 'silent', 'refused', 'quarantined', 'policy'] as const
export type WhyPathState = (typeof whyPathStates)[number]

export interface WhyPathInfo extends WhyPlace {
  readonly state: WhyPathState
  readonly active: boolean
  readonly rttMs?: number
  /** Share of packets lost, 0 … 1. */
  readonly loss: number
  readonly sent: number
  readonly lost: number
  /** Largest datagram that is sent there, bytes of UDP payload. */
  readonly mtu: number
  readonly openedAt: number
  /** When it last answered a question. */
  readonly answeredAt?: number
  /** How long nothing has been acknowledged there, though something is to be. */
  readonly silentMs?: number
  /** Of a Bluetooth link. */
  readonly radio?: WhyRadio
}

export interface WhyRadio {
  /** dBm, of the peer's advertisements, if those were heard lately. */
  readonly rssi?: number
  /** ATT MTU, bytes. */
  readonly mtu: number
  /** From one connection event to the next, when the link was opened; absent where the backend is not told. */
  readonly intervalMs?: number
}

/** The path in use. */
export interface WhyCurrent extends WhyPlace {
  /** When the traffic moved there, and by which rule. */
  readonly since: number
  readonly rule: string
  /** The rule in a sentence. */
  readonly because: string
}

export const whyResults = ['waiting', 'answered', 'opened', 'called_off', 'no_answer', 'refused', 'unreachable', 'forbidden', 'not_postern', 'no_resources', 'failed', 'policy'] as const
export type WhyResult = (typeof whyResults)[number]

/** An address that was tried, or is known and was not. */
export interface WhyAttempt extends WhyPlace {
  readonly result: WhyResult
  /** How often; 0 where it was not tried. */
  readonly count: number
  readonly firstAt?: number
  readonly lastAt?: number
  /** dial: there was no session · unanswered: UDP did not answer a dial · doubt: nothing was acknowledged · refused: the system does not send · policy */
  readonly cause?: string
}

/** What an address is of the one that has it: of an interface, as a server sees it, as its router maps it … known: from an invite, the roster or an earlier session. */
export const whyCandidateTypes = ['host', 'reflexive', 'observed', 'mapped', 'turn', 'tcp-host', 'tcp-mapped', 'known'] as const

export interface WhyCandidate {
  readonly address: string
  readonly type: (typeof whyCandidateTypes)[number]
}

/** in_use: the path · works: it answered lately · silent, quarantined: as of paths · not_tried: another way is good, or its turn has not come · not_asked: one does not send there because a peer names it */
export type WhyPairResult = WhyResult | 'in_use' | 'works' | 'silent' | 'quarantined' | 'not_tried' | 'not_asked'
export const whyPairResults: readonly WhyPairResult[] = [...whyResults, 'in_use', 'works', 'silent', 'quarantined', 'not_tried', 'not_asked']

/** An address of the peer by one kind of path, and ours that the peer would see. Our side has one socket: it is the same whichever of our addresses stands there. */
export interface WhyPair {
  readonly kind: string
  /** Absent: this node has none that goes with it. */
  readonly ours?: WhyCandidate
  readonly theirs: WhyCandidate
  readonly result: WhyPairResult
  /** How often it was tried, if it was. */
  readonly count: number
  /** When that became known. */
  readonly at?: number
}

/** plain: dialing at the same time is enough · guess: one side has to guess ports · never: no direct way by UDP · unknown: for want of a class */
export const whyOutlooks = ['plain', 'guess', 'never', 'unknown'] as const

/** The NATs of both sides, and what they let one hope for. */
export interface WhyNats {
  readonly ours: IpcOwnNat
  readonly theirs: IpcNat & { readonly ipv6: boolean }
  readonly outlook: (typeof whyOutlooks)[number]
  /** Some address of the peer is of the Internet: routers may be in between. */
  readonly between: boolean
  /** In a sentence. */
  readonly text: string
}

export const whyGuessOutcomes = ['running', 'met', 'in_vain', 'called_off'] as const

/** Ports are guessed where one of two is seen at another port by each destination. */
export interface WhyGuess {
  /** hard: this side opened many sockets · easy: it tried many ports of the other */
  readonly role: 'hard' | 'easy'
  readonly target: string
  readonly startedAt: number
  readonly endedAt?: number
  readonly outcome: (typeof whyGuessOutcomes)[number]
  /** Datagrams sent, and those of the peer that were heard. */
  readonly sent: number
  readonly heard: number
}

/** A UDP address that is asked, while UDP carries no traffic, whether it answers again. */
export interface WhyProbe {
  readonly address: string
  /** Questions since the last answer. */
  readonly unanswered: number
  /** The system did not send there. */
  readonly refused?: WhyResult
  /** It answered probes, but lost what was sent there, and rests for so much longer. */
  readonly restMs?: number
}

export interface WhyEvent {
  readonly at: number
  /** move: traffic went elsewhere · quarantine · dial: a connection was asked for · close: one was closed · doubt: nothing was acknowledged · silent: a path did not answer · refused · mtu · policy · end */
  readonly what: 'move' | 'quarantine' | 'dial' | 'close' | 'doubt' | 'silent' | 'refused' | 'mtu' | 'policy' | 'end'
  readonly text: string
  readonly from?: WhyPlace
  readonly to?: WhyPlace
  /** Rule, cause or reason, as a word for programs. */
  readonly reason?: string
  /** So often since the last move; absent: once. */
  readonly count?: number
}

export interface WhyAdvice {
  /** A word for programs, of those that follow from the facts about NATs. */
  readonly remedy?: string
  readonly text: string
  /** A command to type. */
  readonly command?: string
}

export interface PeerWhyResult {
  readonly id: string
  readonly name?: string
  /** When this was read. */
  readonly at: number
  readonly state: 'connected' | 'dialing' | 'unreachable' | 'offline'
  readonly since: number
  /** Why it is in that state, where something ended. */
  readonly reason?: string
  readonly path?: WhyCurrent
  readonly policy: IpcPathPolicy & { readonly from: PeerPolicyResult['from'] }
  readonly nat: WhyNats
  /** The last round of guessing ports, if there was one. */
  readonly guess?: WhyGuess
  /** The one in use first, then those that work. */
  readonly pairs: readonly WhyPair[]
  readonly paths: readonly WhyPathInfo[]
  readonly attempts: readonly WhyAttempt[]
  readonly probes: readonly WhyProbe[]
  readonly dial?: { readonly since: number; readonly loud: boolean; readonly nextMs?: number }
  /** Oldest first. */
  readonly history: readonly WhyEvent[]
  /** How many events and attempts are kept at most. */
  readonly bounds: { readonly history: number; readonly attempts: number; readonly pairs: number }
  /** Empty where there is nothing to do. */
  readonly advice: readonly WhyAdvice[]
}

