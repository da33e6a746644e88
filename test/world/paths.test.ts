/**
 * Worlds of two machines and several paths between them, UDP and TCP, of which one always works while the others die, silently
 * or told, and come back: a session and its channels outlive every path, nothing that can go waits long, and the traffic returns
 * to UDP. The invariants of `world.test.ts` hold besides. POSTERN_WORLD_SEEDS and POSTERN_WORLD_SEED as there.
 */
import { describe } from 'vitest'
import { testWorlds } from './seeds.ts'

/**
 * 40: TCP was not dialed while a connection fell silent · 97: neither was another UDP address asked while one did · 186: a liveness
 * check for the past, over and over · 318: of two probes of UDP one was left out · 392: of two connections dialed at once each
 * side closed the one that the other kept.
 */
const regressions = [40, 97, 186, 318, 392]

/** What wild worlds are for, and what comes once in some hundred of these. */
const rare = ['policy', 'only', 'closed', 'blocked', 'restarts', 'noRoom', 'consumersGone'] as const

describe('worlds of paths', () => { testWorlds('paths', 100, regressions, rare) })
