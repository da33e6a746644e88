/**
 * Worlds: the shipping endpoint and pump in virtual time, over a network that a seed spoils, with every invariant looked at in
 * every step. `npm run test:world -- --seeds <n>` runs more of them, `--seed <seed>` one, with its story.
 */
import { describe, expect, it } from 'vitest'
import { testWorlds } from './seeds.ts'
import { runWorld } from './world.ts'

/** Comes once in a thousand worlds; and there is no heartbeat in these. */
const rare = ['overBle', 'consumersGone', 'longestGap', 'policy'] as const

describe('worlds', () => {
  testWorlds('wild', 300, rare)

  it('a seed gives the same world every time, with simulated and with real cryptography', () => {
    for (const seed of [5, 11, 26]) expect(runWorld(seed).fingerprint).toBe(runWorld(seed).fingerprint)
    expect(runWorld(5).fingerprint).not.toBe(runWorld(26).fingerprint)
  })
})
