/** The matrix of routers of the lab (test/lab/meeting.test.ts) once more, in virtual time, and that both agree. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { expectedPath, isGuessed, pairOf, pairs } from '../lab/matrix.ts'
import type { Meeting } from '../lab/meeting.ts'
import { NatHomes } from './nat-homes.ts'

/** Both orders of ids. */
const SEEDS = [1, 2, 3, 4]
/** Seconds: longer than a dial takes, and than a round of guesses. */
const PLAIN = 10
const GUESSED = 90

const lab = JSON.parse(readFileSync(new URL('../../docs/lab/matrix.json', import.meta.url), 'utf8')) as Readonly<Record<string, Meeting>>

describe('two homes behind modelled routers', () => {
  it.each(pairs)('%s and %s meet as those of the lab do', (near, far) => {
    const expected = expectedPath(near, far)
    for (const seed of SEEDS) {
      // Who invites and who joins takes turns too.
      const homes = new NatHomes(seed, seed <= 2 ? [near, far] : [far, near])
      homes.learn()
      const { path, seconds, first } = homes.meet(isGuessed(near, far) ? GUESSED : PLAIN)
      expect(path, `seed ${seed}`).toBe(expected)
      if (path === 'none') continue
      // Three round trips, or a copy of message A, or the second for UDP; guesses take as long as they take.
      if (!isGuessed(near, far)) expect(seconds, `seed ${seed}`).toBeLessThan(2)
      expect(first - seconds, `seed ${seed}: the first message`).toBeLessThan(0.1)
      expect(homes.talk(), `seed ${seed}: messages both ways`).toBeLessThan(0.2)
    }
    expect(lab[pairOf(near, far)]?.path, 'what the lab measured (docs/lab/matrix.json)').toBe(expected)
  })
})

describe('two homes behind routers that remember what they did not let in', () => {
  it.each([['port', 'port'], ['port', 'addr'], ['cgnat', 'port'], ['cgnat', 'cgnat']] as const)('%s and %s meet by UDP: who joined has opened its own door, and nothing of it came to the other one', (near, far) => {
    for (const seed of SEEDS) {
      const homes = new NatHomes(seed, seed <= 2 ? [near, far] : [far, near], true)
      homes.learn()
      const { path, seconds } = homes.meet(PLAIN)
      expect([path, seed]).toEqual(['udp', seed])
      expect(seconds).toBeLessThan(0.75)
      expect(homes.talk()).toBeLessThan(0.2)
    }
  })
})
