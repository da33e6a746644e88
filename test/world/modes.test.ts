/**
 * Worlds in which conversations use every delivery mode, with deadlines, drop policies and lanes of single messages, and senders hear what
 * becomes of each message (`told-stream.ts` says what must hold), besides the faults and invariants of `world.test.ts`. POSTERN_WORLD_SEEDS and
 * POSTERN_WORLD_SEED as there.
 */
import { describe } from 'vitest'
import { testWorlds } from './seeds.ts'

/** Those of wild worlds, and what a hundred worlds may lack. */
const rare = ['overBle', 'consumersGone', 'longestGap', 'policy', 'tier', 'only', 'noRoom', 'refused', 'preferred'] as const

describe('worlds of modes', () => { testWorlds('modes', 150, rare) })
