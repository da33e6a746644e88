/**
 * Worlds of two machines and several paths between them, UDP and TCP, of which one always works while the others die, silently
 * or told, and come back: a session and its channels outlive every path, nothing that can go waits long, and the traffic returns
 * to UDP. The invariants of `world.test.ts` hold besides, and what `path-watch.ts` says.
 */
import { describe } from 'vitest'
import { testWorlds } from './seeds.ts'

/** What wild worlds are for, and what comes once in some hundred of these. */
const rare = ['only', 'closed', 'blocked', 'restarts', 'noRoom', 'consumersGone', 'overBle'] as const

describe('worlds of paths', () => { testWorlds('paths', 100, rare) })
