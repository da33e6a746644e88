/**
 * Worlds with Bluetooth: the driver, radio and links that ship, on radios in virtual time, beside the network or instead of it. Ranges end, adapters go
 * and come, the network dies and lives; what is said all the time is heard all the time where one of them works. The invariants of `world.test.ts`
 * hold besides, and what `radio-watch.ts` says.
 */
import { describe } from 'vitest'
import { testWorlds } from './seeds.ts'

/** What comes once in some hundred of these. */
const rare = ['only', 'preferred', 'policy', 'refused', 'blocked', 'noRoom', 'consumersGone', 'tier', 'overTcp', 'closed'] as const

describe('worlds with a radio', () => { testWorlds('radio', 25, rare) })
