import { second } from '../../src/core/base/time.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { phoneAir, type TimedConditions } from '../support/timed-air.ts'
import { between, MILLISECOND, pick, SECOND } from './draw.ts'
import { drawConditions, drawConversation, drawNode, type ConversationPlan, type FaultKind, type FaultPlan, type WorldPlan } from './plan.ts'
import { heartbeatOf } from './plan-paths.ts'

/** The network works from the start until now, so that the machines are friends who know each other on the air. */
const ACQUAINTANCE = 4 * SECOND
/** So long both work, before one of them is taken away. */
const OVERLAP = 4 * SECOND
/** What is said all the time goes on for so long after the last fault, so that all is seen to be well again. */
const AFTERWARDS = 8 * SECOND
const PATIENCE = 8 * SECOND
const REAL_EVERY = 10

/**
 * Machines with radios. Mostly two, and at every moment the network or the air between them works: what is said all the time must be heard all the
 * time. Else two or three to whom anything happens, often with nothing but the radio until the end.
 */
export function radioPlanOf(seed: number): WorldPlan {
  const random = new SeededRandom(seed ^ 0xb1e0)
  return random.chance(0.65) ? steady(seed, random) : wild(seed, random)
}

function steady(seed: number, random: SeededRandom): WorldPlan {
  const active = between(random, 20, 45) * SECOND
  const clear = random.chance(0.5)
  const common = commonOf(seed, random, 2, clear ? { ...phoneAir, loss: 0, mtu: pick(random, [185, 247, 517]) } : drawAir(random), clear)
  return {
    ...common,
    conversations: [heartbeatOf(active + OVERLAP + AFTERWARDS), ...(random.chance(0.5) ? [bulk(active)] : []), ...common.conversations(active, between(random, 0, 2))],
    faults: drawEpisodes(random, active),
    healAt: active + OVERLAP,
    radio: { ...common.radio, network: true },
    patience: PATIENCE,
  }
}

function wild(seed: number, random: SeededRandom): WorldPlan {
  const active = between(random, 8, 30) * SECOND
  const count = pick(random, [2, 2, 3])
  const network = random.chance(0.4)
  const common = commonOf(seed, random, count, drawAir(random), false)
  const pairs = Array.from({ length: count }, (_, a) => Array.from({ length: count - 1 - a }, (_, i) => [a, a + 1 + i] as const)).flat()
  // Where there is no network, it is gone for good once they know each other.
  const gone = network ? [] : pairs.map(([node, other]): FaultPlan => ({ kind: 'cut', at: ACQUAINTANCE, duration: Infinity, node, other, choice: 0 }))
  return {
    ...common,
    conversations: common.conversations(active, between(random, 1, 3)),
    faults: [...gone, ...Array.from({ length: between(random, 1, 6) }, () => drawFault(random, count, active))],
    healAt: active,
    radio: { ...common.radio, network },
  }
}

type Common = Omit<WorldPlan, 'conversations' | 'faults' | 'healAt' | 'radio'> & {
  readonly radio: { readonly air: TimedConditions; readonly clear: boolean }
  readonly conversations: (active: number, count: number) => ConversationPlan[]
}

function commonOf(seed: number, random: SeededRandom, count: number, air: TimedConditions, clear: boolean): Common {
  const limits = { maxMessage: 64 << 10, maxChannelData: 128 << 10, maxData: 512 << 10, rekeyAfter: pick(random, [120, 120, 9]) * second, rejectAfter: 180 * second }
  const node = (): WorldPlan['nodes'][number] => {
    const drawn = drawNode(random, limits, false)
    return { ...drawn, memory: 8 << 20, config: { ...drawn.config, queueMessages: 10_000, queueBytes: 8 << 20 } }
  }
  const calm = { ...drawConditions(random, false), delay: between(random, 1, 20) * MILLISECOND, jitter: 0, loss: pick(random, [0, 0, 0.01]), burstEnter: 0, corrupt: 0, rate: 0, queueBytes: 0 }
  return {
    seed, real: seed % REAL_EVERY === 3, nodes: Array.from({ length: count }, node), calm: [calm], rough: [{ ...calm, loss: 0.15 }],
    radio: { air, clear },
    conversations: (active, conversations) => Array.from({ length: conversations }, () => brief(drawConversation(random, count, active, false, 8 << 10))),
  }
}

/** As much as a good link carries, behind all else. */
function bulk(active: number): ConversationPlan {
  const reader = { delay: 0, credit: 1 << 20, consumer: 8 }
  const forward = { lengths: new Array<number>(Math.floor(active / SECOND) * 5).fill(8000), burst: 5, pause: SECOND }
  return { from: 0, to: 1, mode: 'reliable-ordered', lane: 'low', weight: 1, startAt: 0, forward, backward: { lengths: [], burst: 1, pause: SECOND }, opener: reader, acceptor: reader, answer: 'accept', close: 'heard' }
}

/** No more than a radio carries in the time there is. */
function brief(conversation: ConversationPlan): ConversationPlan {
  return { ...conversation, forward: { ...conversation.forward, lengths: conversation.forward.lengths.slice(0, 150) }, backward: { ...conversation.backward, lengths: conversation.backward.lengths.slice(0, 150) } }
}

function drawAir(random: SeededRandom): TimedConditions {
  return {
    interval: pick(random, [7_500, 15_000, 15_000, 30_000, 60_000]), rate: pick(random, [0.02, 0.05, 0.05, 0.1]), mtu: pick(random, [23, 69, 185, 247, 517]),
    supervision: pick(random, [1, 4]) * SECOND, loss: pick(random, [0, 0.02, 0.1]),
  }
}

/** In turns the network and the air are taken away, one never before the other has worked for a while. */
function drawEpisodes(random: SeededRandom, active: number): FaultPlan[] {
  const faults: FaultPlan[] = []
  let network = random.chance(0.7)
  for (let at = ACQUAINTANCE + 2 * SECOND; at < active;) {
    const duration = between(random, 3, 12) * SECOND
    const node = random.below(2)
    const common = { at, duration, node, other: 1 - node, choice: random.unit() }
    if (network) faults.push({ ...common, kind: 'cut' })
    else faults.push({ ...common, kind: pick(random, ['range', 'adapter'] as const) })
    if (random.chance(0.2)) faults.push({ ...common, kind: 'stall', duration: random.below(4 * SECOND) })
    at += duration + OVERLAP
    network = random.chance(0.7)
  }
  return faults
}

const wildFaults: readonly FaultKind[] = ['range', 'range', 'range', 'adapter', 'adapter', 'cut', 'cut', 'carrier', 'storm', 'restart', 'sleep', 'stall', 'wall', 'disconnect', 'abort', 'rebind']

function drawFault(random: SeededRandom, count: number, active: number): FaultPlan {
  const kind = pick(random, wildFaults)
  const node = random.below(count)
  return { kind, at: random.below(active), duration: between(random, 100, 12_000) * MILLISECOND, node: kind === 'rebind' ? 0 : node, other: (node + 1 + random.below(count - 1)) % count, choice: random.unit() }
}
