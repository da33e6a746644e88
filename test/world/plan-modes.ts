import type { DeliveryMode, Overflow } from '../../src/core/base/domain.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { NAMED_MIN } from './content.ts'
import { between, pick, spread } from './draw.ts'
import { planOf, type ConversationPlan, type SpeechPlan, type TellingPlan, type WorldPlan } from './plan.ts'

const modes: readonly DeliveryMode[] = ['reliable-ordered', 'reliable-unordered', 'unreliable', 'latest']
const overflows: readonly Overflow[] = ['block', 'drop-oldest', 'drop-newest', 'drop-lowest-lane']

/**
 * The worlds of {@link planOf}, faults and all, in which most conversations use every delivery mode, with deadlines, drop policies and lanes
 * of single messages, small queues that overflow, and senders that hear what becomes of each message.
 */
export function modesPlanOf(seed: number): WorldPlan {
  const plan = planOf(seed)
  const random = new SeededRandom(seed ^ 0x30de5)
  const extra = between(random, 1, 2)
  const told = (conversation: ConversationPlan): ConversationPlan => random.chance(0.2) ? conversation : tell(random, conversation)
  return {
    ...plan,
    nodes: plan.nodes.map((node) => ({ ...node, config: { ...node.config, queueMessages: pick(random, [16, 64, 10_000]) } })),
    conversations: [...plan.conversations, ...plan.conversations.slice(0, extra)].map(told),
  }
}

function tell(random: SeededRandom, conversation: ConversationPlan): ConversationPlan {
  const mode = pick(random, modes)
  return { ...conversation, mode, forward: named(conversation.forward), backward: named(conversation.backward), telling: drawTelling(random, mode) }
}

/** Messages that say which they are. */
function named(speech: SpeechPlan): SpeechPlan {
  return { ...speech, lengths: speech.lengths.map((length) => Math.max(length, NAMED_MIN)) }
}

function drawTelling(random: SeededRandom, mode: DeliveryMode): TellingPlan {
  const ttl = random.chance(0.5) ? 0 : spread(random, 2, 3000)
  return {
    overflow: pick(random, overflows),
    // Some late at once, some long, most without.
    ttlsMs: ttl === 0 ? [0] : Array.from({ length: 7 }, () => random.chance(0.5) ? 0 : between(random, 0, ttl)),
    lanes: mode === 'reliable-ordered' || random.chance(0.5) ? [255] : Array.from({ length: 5 }, () => pick(random, [255, 0, 1, 2, 3])),
  }
}
