import { second } from '../../src/core/base/time.ts'
import { anyPath, type PathPolicy } from '../../src/core/path/path-policy.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { between, MILLISECOND, pick, SECOND } from './draw.ts'
import { drawConditions, drawConversation, drawNode, ROAMER, type ConversationPlan, type FaultPlan, type WorldPlan } from './plan.ts'
import { carriers, type Carrier } from './roads.ts'

/** Nothing that can go waits longer than this while any path works. */
const PATIENCE = 5 * SECOND
const HEARTBEAT_PAUSE = 50 * MILLISECOND
/** So long a path keeps working after the next one does. */
const OVERLAP = 3 * SECOND
/** What is said all the time goes on for so long after the last fault, so that all is seen to be well again. */
const AFTERWARDS = 6 * SECOND
const REAL_EVERY = 10

/**
 * Two machines with one or two roads between them, UDP and TCP on each, and at every moment one of these that works: the others
 * go black, are refused, are reset and come back. What is said all the time must be heard all the time.
 */
export function pathPlanOf(seed: number): WorldPlan {
  const random = new SeededRandom(seed ^ 0x9a7b5)
  const roads = pick(random, [1, 2])
  const active = between(random, 15, 40) * SECOND
  const limits = { maxMessage: 256 << 10, maxChannelData: 512 << 10, maxData: 2 << 20, rekeyAfter: pick(random, [120, 120, 9]) * second, rejectAfter: 180 * second }
  const node = (): WorldPlan['nodes'][number] => {
    const drawn = drawNode(random, limits, false)
    return { ...drawn, memory: 8 << 20, tcp: true, config: { ...drawn.config, queueMessages: 10_000, queueBytes: 8 << 20 } }
  }
  return {
    seed,
    real: seed % REAL_EVERY === 3,
    nodes: [node(), node()],
    calm: Array.from({ length: roads }, () => ({ ...drawConditions(random, false), loss: pick(random, [0, 0, 0.01]), burstEnter: 0, mtu: pick(random, [1472, 1472, 8972]) })),
    rough: [],
    conversations: [heartbeatOf(active + OVERLAP + AFTERWARDS), ...Array.from({ length: between(random, 0, 2) }, () => drawConversation(random, 2, active, false, limits.maxMessage))],
    faults: drawFaults(random, roads, active),
    healAt: active + OVERLAP,
    patience: PATIENCE,
  }
}

export function heartbeatOf(duration: number): ConversationPlan {
  const speech = { lengths: new Array<number>(Math.floor(duration / HEARTBEAT_PAUSE)).fill(30), burst: 1, pause: HEARTBEAT_PAUSE }
  const reader = { delay: 0, credit: 1 << 20, consumer: 9 }
  return {
    from: 0, to: 1, mode: 'reliable-ordered', lane: 'critical', weight: 255, startAt: 0, forward: speech, backward: speech, opener: reader, acceptor: reader,
    answer: 'accept', close: 'heard', heartbeat: true,
  }
}

/** Episodes: in each, one way is left alone and any of the others may stop working until its end. */
function drawFaults(random: SeededRandom, roads: number, active: number): FaultPlan[] {
  const faults: FaultPlan[] = []
  const ways = Array.from({ length: roads }, (_, road) => carriers.map((carrier) => ({ road, carrier }))).flat()
  let before: (typeof ways)[number] | undefined
  for (let at = 2 * SECOND; at < active;) {
    const duration = between(random, 4, 12) * SECOND
    const spared = pick(random, ways)
    for (const way of ways) {
      if (way === spared) continue
      // The way that worked until now works a little longer, as the old network does when one walks into the next.
      const from = way === before ? at + OVERLAP : at + random.below(2 * SECOND)
      const node = random.below(2)
      const oneWay = random.chance(0.3)
      const common = { node, other: 1 - node, oneWay, road: way.road, carrier: way.carrier, choice: random.unit() }
      if (random.chance(0.75) && from < at + duration) faults.push({ kind: way.carrier === 'udp' && random.chance(0.3) ? 'refuse' : 'carrier', at: from, duration: at + duration - from, ...common })
      else if (way.carrier === 'tcp' && spared.carrier === 'udp' && random.chance(0.5)) faults.push({ kind: 'reset', at: from, duration: 0, ...common })
      else if (way.carrier === 'udp') faults.push({ kind: 'mtu', at: from, duration: at + duration - from, ...common })
    }
    if (random.chance(0.25)) faults.push({ kind: 'rebind', at: at + random.below(duration), duration: 0, node: ROAMER, other: 1, choice: random.unit() })
    const wishing = random.below(2)
    if (random.chance(0.2)) faults.push({ kind: 'policy', at: at + random.below(2 * SECOND), duration: duration - 2 * SECOND, node: wishing, other: 1 - wishing, choice: 0, policy: drawPolicy(random, spared.carrier) })
    if (random.chance(0.3)) faults.push({ kind: 'stall', at: at + random.below(duration), duration: random.below(8 * SECOND), node: random.below(2), other: 0, choice: 0 })
    before = spared
    at += duration
  }
  return faults
}

/** A wish that leaves this kind of path allowed. */
function drawPolicy(random: SeededRandom, spared: Carrier): PathPolicy {
  const other: Carrier = spared === 'udp' ? 'tcp' : 'udp'
  return pick(random, [{ ...anyPath, only: spared }, { ...anyPath, never: [other] }, { ...anyPath, prefer: 'tcp' }, { ...anyPath, prefer: 'udp' }])
}
