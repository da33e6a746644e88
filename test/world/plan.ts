import type { DeliveryMode, Lane, Overflow } from '../../src/core/base/domain.ts'
import { second } from '../../src/core/base/time.ts'
import type { CoreConfig } from '../../src/core/connection/config.ts'
import type { PathPolicy } from '../../src/core/path/path-policy.ts'
import { perfectWire, type WireConditions } from '../../src/sim/network.ts'
import type { TimedConditions } from '../support/timed-air.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { MESSAGE_MAX, NAMED_MIN } from './content.ts'
import type { Carrier } from './roads.ts'
import { between, MILLISECOND, pick, SECOND, spread } from './draw.ts'

/** What one side of a conversation says: lengths in order, in bursts with a pause between. */
export interface SpeechPlan {
  readonly lengths: readonly number[]
  readonly burst: number
  readonly pause: number
}

/** How the app of one side reads: how long it takes over each batch, and how much may lie before it. */
export interface ReaderPlan {
  readonly delay: number
  readonly credit: number
  /** A number shared by channels that belong to one app: they share its part of the session's window. */
  readonly consumer: number
}

/** What is told of messages, and what may become of them. Lists are gone through in a circle, message by message. */
export interface TellingPlan {
  readonly overflow: Overflow
  /** Milliseconds until a message is late; 0 = never. */
  readonly ttlsMs: readonly number[]
  /** 255 = the channel's. */
  readonly lanes: readonly number[]
}

export interface ConversationPlan {
  readonly from: number
  readonly to: number
  readonly mode: DeliveryMode
  readonly lane: Lane
  readonly weight: number
  readonly startAt: number
  readonly forward: SpeechPlan
  readonly backward: SpeechPlan
  readonly opener: ReaderPlan
  readonly acceptor: ReaderPlan
  /** What the other side does with the first OPEN. Later ones are accepted at once. */
  readonly answer: 'accept' | 'later' | 'reject' | 'silence'
  /** Who closes, and when: all was said and heard, the opener has queued its last message, or the acceptor has heard enough. */
  readonly close: 'heard' | 'said' | 'acceptor'
  /** It says something all the time, to readers that always read: by it is seen whether anything can go. */
  readonly heartbeat?: boolean
  /** Every message is confirmed, and may be dropped. */
  readonly telling?: TellingPlan
}

export type FaultKind =
  | 'cut' | 'half-cut' | 'carrier' | 'refuse' | 'reset' | 'mtu' | 'storm' | 'rebind' | 'relink' | 'restart' | 'wall' | 'sleep' | 'stall' | 'hold' | 'block' | 'disconnect' | 'abort' | 'policy' | 'range' | 'adapter'

export interface FaultPlan {
  readonly kind: FaultKind
  readonly at: number
  readonly duration: number
  readonly node: number
  readonly other: number
  /** A further choice, in 0 ≤ x < 1. */
  readonly choice: number
  /** Of `carrier`, `refuse` and `mtu`: what stops working between the two; absent: by `choice`. */
  readonly road?: number
  readonly carrier?: Carrier
  /** Of `carrier` and `refuse`: only what the one sends is concerned. */
  readonly oneWay?: boolean
  readonly policy?: PathPolicy
}

export interface NodePlan {
  readonly config: Partial<CoreConfig>
  readonly memory: number
  readonly segmentsMax: number
  readonly coalesce: boolean
  /** Longest time until the driver gives a slab back; 0 = at once. */
  readonly sendTime: number
  /** It listens for TCP and dials. */
  readonly tcp: boolean
}

type Limits = Pick<CoreConfig, 'maxMessage' | 'maxChannelData' | 'maxData' | 'rekeyAfter' | 'rejectAfter'>

export interface WorldPlan {
  readonly seed: number
  readonly real: boolean
  readonly nodes: readonly NodePlan[]
  /** Of each road there is. */
  readonly calm: readonly WireConditions[]
  readonly rough: readonly WireConditions[]
  readonly conversations: readonly ConversationPlan[]
  readonly faults: readonly FaultPlan[]
  /** When all faults end. */
  readonly healAt: number
  /** At every moment a path works: sessions and channels live through everything, and nothing that can go waits longer than this. */
  readonly patience?: number
  /** Every machine has a radio. */
  readonly radio?: RadioPlan
}

/** What the air is like, and whether the network comes back when all is well again. */
export interface RadioPlan {
  readonly air: TimedConditions
  readonly network: boolean
  /** Nothing that is lost on the air holds up what it is measured for. */
  readonly clear: boolean
}

/** One world in so many uses the cryptography that ships. */
const REAL_EVERY = 8
/** Node 0 is the one that moves about: were two peers to move at once, nobody would know where the other is. */
export const ROAMER = 0

export function planOf(seed: number): WorldPlan {
  const random = new SeededRandom(seed)
  const nodeCount = pick(random, [2, 2, 2, 3, 4])
  const active = between(random, 3, 25) * SECOND
  const faultCount = random.chance(0.15) ? 0 : between(random, 1, 6)
  const conversationCount = between(random, 1, 5)
  const limits = drawLimits(random)
  const tight = random.chance(0.15)
  const nodes = Array.from({ length: nodeCount }, () => drawNode(random, limits, tight))
  const roads = pick(random, [1, 1, 2])
  return {
    seed,
    real: seed % REAL_EVERY === 3,
    nodes,
    calm: Array.from({ length: roads }, () => drawConditions(random, false)),
    rough: Array.from({ length: roads }, () => drawConditions(random, true)),
    conversations: Array.from({ length: conversationCount }, () => drawConversation(random, nodeCount, active, tight, limits.maxMessage)),
    faults: Array.from({ length: faultCount }, () => drawFault(random, nodeCount, active)),
    healAt: active,
  }
}

/** Windows that nothing fills, that a large message just fits, and that a few small ones fill. */
export function drawLimits(random: SeededRandom): Limits {
  const maxMessage = pick(random, [256 << 10, 256 << 10, 4 << 10, 1 << 10])
  const maxChannelData = maxMessage + pick(random, [32, 1 << 10, maxMessage])
  const maxData = Math.max(maxChannelData, pick(random, [0, 2 * maxMessage, 4 * maxMessage, 2 << 20]))
  const rekeyAfter = pick(random, [120, 120, 7]) * second
  return { maxMessage, maxChannelData, maxData, rekeyAfter, rejectAfter: 1.5 * rekeyAfter }
}

export function drawNode(random: SeededRandom, limits: Limits, tight: boolean): NodePlan {
  return {
    config: {
      ...limits,
      queueMessages: pick(random, [16, 200, 10_000]),
      queueBytes: pick(random, [MESSAGE_MAX, 1 << 20, 8 << 20]),
      keepAlive: pick(random, [5, 20]) * second,
      baseSize: pick(random, [1024, 1152]),
    },
    memory: tight ? 768 << 10 : 4 << 20,
    segmentsMax: pick(random, [1, 64]),
    coalesce: random.chance(0.5),
    sendTime: pick(random, [0, 0, 300, 3000]),
    tcp: random.chance(0.6),
  }
}

export function drawConditions(random: SeededRandom, rough: boolean): WireConditions {
  const delay = spread(random, 100, 80 * MILLISECOND)
  const limited = random.chance(rough ? 0.5 : 0.25)
  const rate = pick(random, [0.1, 0.5, 1, 5])
  return {
    ...perfectWire,
    delay,
    jitter: random.chance(0.5) ? random.below(delay) : 0,
    loss: random.chance(rough ? 0.8 : 0.4) ? random.unit() * (rough ? 0.25 : 0.03) : 0,
    burstEnter: random.chance(rough ? 0.5 : 0.1) ? 0.01 : 0,
    burstLeave: 0.05,
    duplicate: random.chance(0.4) ? random.unit() * 0.2 : 0,
    reorder: random.chance(0.4) ? random.unit() * 0.2 : 0,
    reorderDelay: spread(random, MILLISECOND, 50 * MILLISECOND),
    corrupt: random.chance(0.2) ? 0.01 : 0,
    rate: limited ? rate : 0,
    queueBytes: limited ? between(random, 5_000, 100_000) : 0,
    mtu: 1472,
  }
}

export function drawConversation(random: SeededRandom, nodeCount: number, active: number, tight: boolean, longest: number): ConversationPlan {
  const from = random.below(nodeCount)
  const to = (from + 1 + random.below(nodeCount - 1)) % nodeCount
  const mode: DeliveryMode = random.chance(0.7) ? 'reliable-ordered' : 'unreliable'
  const reliable = mode === 'reliable-ordered'
  return {
    from,
    to,
    mode,
    lane: pick(random, ['critical', 'high', 'normal', 'low'] as const),
    weight: pick(random, [1, 1, 16, 255]),
    startAt: random.chance(0.5) ? 0 : random.below(Math.floor(active / 2)),
    forward: drawSpeech(random, reliable, tight ? 'mixed' : pick(random, forwardSpeeches), longest),
    backward: drawSpeech(random, reliable, pick(random, backwardSpeeches), longest),
    opener: drawReader(random),
    acceptor: drawReader(random),
    answer: pick(random, ['accept', 'accept', 'accept', 'accept', 'later', 'later', 'reject', 'silence'] as const),
    close: pick(random, ['heard', 'heard', 'said', 'acceptor'] as const),
  }
}

const forwardSpeeches = ['ticks', 'ticks', 'pages', 'blobs', 'flood', 'mixed'] as const
const backwardSpeeches = ['none', 'ticks', 'pages', 'flood'] as const

function drawSpeech(random: SeededRandom, reliable: boolean, kind: (typeof forwardSpeeches | typeof backwardSpeeches)[number], longest: number): SpeechPlan {
  const shortest = reliable ? 0 : NAMED_MIN
  const lengths = (count: number, low: number, high: number): number[] =>
    Array.from({ length: count }, () => random.chance(0.02) ? 0 : Math.min(longest, spread(random, Math.max(low, shortest), high)))
  switch (kind) {
    case 'none': return { lengths: [], burst: 1, pause: SECOND }
    case 'ticks': return { lengths: lengths(between(random, 10, 120), 0, 200), burst: between(random, 1, 5), pause: between(random, 5, 120) * MILLISECOND }
    case 'pages': return { lengths: lengths(between(random, 5, 40), 200, 6000), burst: between(random, 1, 40), pause: between(random, 10, 500) * MILLISECOND }
    case 'blobs': return { lengths: lengths(between(random, 1, 3), 20_000, MESSAGE_MAX), burst: 3, pause: SECOND }
    case 'flood': return { lengths: lengths(between(random, 100, 500), 0, 60), burst: 500, pause: 100 * MILLISECOND }
    case 'mixed': return { lengths: lengths(between(random, 10, 60), 0, 60_000), burst: between(random, 1, 20), pause: between(random, 1, 200) * MILLISECOND }
  }
}

function drawReader(random: SeededRandom): ReaderPlan {
  return {
    delay: pick(random, [0, 0, 0, 5 * MILLISECOND, 200 * MILLISECOND]),
    credit: pick(random, [1, 2_000, 64 << 10, 1 << 20]),
    consumer: between(random, 1, 3),
  }
}

const faultKinds: readonly FaultKind[] = [
  'cut', 'cut', 'cut', 'half-cut', 'half-cut', 'carrier', 'carrier', 'refuse', 'reset', 'mtu', 'storm', 'storm', 'rebind', 'rebind', 'relink', 'restart', 'restart', 'wall', 'sleep', 'stall', 'stall', 'hold', 'block',
  'disconnect', 'abort', 'abort',
]

function drawFault(random: SeededRandom, nodeCount: number, active: number): FaultPlan {
  const kind = pick(random, faultKinds)
  const node = random.below(nodeCount)
  return {
    kind,
    at: random.below(active),
    duration: spread(random, 50 * MILLISECOND, 25 * SECOND),
    node: kind === 'rebind' || kind === 'relink' ? ROAMER : node,
    other: (node + 1 + random.below(nodeCount - 1)) % nodeCount,
    choice: random.unit(),
  }
}
