/**
 * The handshake suites of WIRE.md §3.1 as data. A suite is never negotiated inside itself: another cipher or hash would be
 * another number. Only {@link Suite.built} ones can be run; the others are here so that sizes, strength and the downgrade
 * check already know them.
 */
import { FRAGMENT_BODY_MIN, fragmentBodySize, MESSAGE_A, MESSAGE_B, type HandshakeMessage } from '../wire/handshake-fragment.ts'
import type { HandshakePattern } from './noise.ts'

export type SuiteNumber = 1 | 2 | 3 | 4

export interface Suite {
  readonly number: SuiteNumber
  /** Exact Noise protocol name: it is hashed into every transcript. */
  readonly name: string
  /** IK where the responder's id is known, XX where it must not be sent in clear. */
  readonly family: 'IK' | 'XX'
  /** 1 classical, 2 hybrid: a peer that was once reached at 2 is never talked to at 1 without the user's word. */
  readonly strength: 1 | 2
  readonly built: boolean
  readonly pattern: HandshakePattern
  /** Bytes that keys and tags add to the payload, per message. */
  readonly overhead: readonly number[]
  /** Usual payload bytes per message: a head of WIRE.md §3.3, in XX's A zero padding, so that B is never longer than A. */
  readonly payloadSize: readonly number[]
}

const NO_KEYS = [] as const
const KNOWN_STATIC = ['s'] as const

export const suites: readonly Suite[] = [
  {
    number: 1, name: 'Noise_IK_25519_ChaChaPoly_SHA256', family: 'IK', strength: 1, built: true,
    pattern: { initiatorPreMessage: NO_KEYS, responderPreMessage: KNOWN_STATIC, messages: [['e', 'es', 's', 'ss'], ['e', 'ee', 'se']] },
    overhead: [96, 48], payloadSize: [192, 192],
  },
  {
    number: 2, name: 'Noise_XX_25519_ChaChaPoly_SHA256', family: 'XX', strength: 1, built: true,
    pattern: { initiatorPreMessage: NO_KEYS, responderPreMessage: NO_KEYS, messages: [['e'], ['e', 'ee', 's', 'es'], ['s', 'se']] },
    overhead: [32, 96, 64], payloadSize: [256, 192, 192],
  },
  {
    number: 3, name: 'Noise_IKhfs_25519+MLKEM768_ChaChaPoly_SHA256', family: 'IK', strength: 2, built: false,
    pattern: { initiatorPreMessage: NO_KEYS, responderPreMessage: KNOWN_STATIC, messages: [['e', 'es', 'e1', 's', 'ss'], ['e', 'ee', 'ekem1', 'se']] },
    overhead: [1296, 1152], payloadSize: [192, 192],
  },
  {
    number: 4, name: 'Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256', family: 'XX', strength: 2, built: false,
    pattern: { initiatorPreMessage: NO_KEYS, responderPreMessage: NO_KEYS, messages: [['e', 'e1'], ['e', 'ee', 'ekem1', 's', 'es'], ['s', 'se']] },
    overhead: [1216, 1200, 64], payloadSize: [192, 192, 192],
  },
]

/** The suite of a number on the wire, `undefined` for one we do not know. */
export function suiteOf(number: number): Suite | undefined {
  return suites.find((suite) => suite.number === number)
}

/** `suites` fields of the wire: bit n for suite n. */
export function suiteMask(accepted: readonly Suite[]): number {
  return accepted.reduce((mask, suite) => mask | (1 << suite.number), 0)
}

/** Mask of all suites this build can run. */
export const builtSuiteMask: number = suiteMask(suites.filter((suite) => suite.built))

/**
 * A suite stronger than `used` and of the same family that both sides accept, `undefined` when there is none. Seeing one
 * means that somebody steered the handshake down: close with DOWNGRADE (WIRE.md §3.6).
 */
export function strongerInBoth(used: Suite, ownMask: number, peerMask: number): Suite | undefined {
  return suites.find((suite) => suite.family === used.family && suite.strength > used.strength && ((ownMask & peerMask) >>> suite.number & 1) === 1)
}

/** Sizes a whole Noise message of this suite may have: an IK A comes with 192, 256, … 512 bytes of payload, all others with one size. */
export function isNoiseMessageSize(suite: Suite, message: HandshakeMessage, size: number): boolean {
  const overhead = suite.overhead[message]
  const usual = suite.payloadSize[message]
  if (overhead === undefined || usual === undefined) return false
  const payload = size - overhead
  if (suite.family === 'IK' && message === MESSAGE_A) return payload >= usual && payload <= 512 && (payload - usual) % 64 === 0
  return payload === usual
}

/**
 * Whether B of this suite can be cut into as many pieces as its A came in: each must have the least body a fragment may have.
 * A suite 1 B (240 bytes) makes at most three.
 */
export function isAnswerable(suite: Suite, count: number): boolean {
  const size = suite.overhead[MESSAGE_B]! + suite.payloadSize[MESSAGE_B]!
  return fragmentBodySize(size, count - 1, count) >= FRAGMENT_BODY_MIN
}
