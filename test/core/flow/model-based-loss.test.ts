import { describe, expect, it } from 'vitest'
import { LossJudge } from '../../../src/core/flow/model-based-loss.ts'
import { SeededRandom } from '../../../src/sim/random.ts'

/** Losses of `count` packets at a rate. */
function losses(random: SeededRandom, count: number, rate: number): number {
  let lost = 0
  for (let i = 0; i < count; i++) lost += random.chance(rate) ? 1 : 0
  return lost
}

/** Share of rounds of `count` packets that a judge with that floor calls too much. */
function verdicts(judge: LossJudge, rate: number, count: number): number {
  const random = new SeededRandom(7)
  let much = 0
  for (let round = 0; round < 5000; round++) much += judge.tooMuch(losses(random, count, rate), count, false) ? 1 : 0
  return much / 5000
}

function trained(rate: number): LossJudge {
  const judge = new LossJudge()
  const random = new SeededRandom(3)
  for (let round = 0; round < 200; round++) {
    const lost = losses(random, 33, rate)
    judge.addQuietRound(lost, 33 - lost)
  }
  return judge
}

describe('LossJudge', () => {
  it('learns the rate at which a path loses anyway, and forgets it', () => {
    for (const rate of [0, 0.01, 0.02, 0.05, 0.1]) expect(Math.abs(trained(rate).floor - rate)).toBeLessThan(0.02)
    expect(trained(0.6).floor).toBe(0.15)
    const judge = trained(0.05)
    for (let round = 0; round < 20; round++) judge.addQuietRound(0, 33)
    expect(judge.floor).toBe(0)
  })

  it('lets random loss pass, in small flights and large', () => {
    for (const rate of [0.01, 0.02, 0.05]) {
      const judge = trained(rate)
      for (const count of [5, 33, 330]) expect(verdicts(judge, rate, count), `${rate} of ${count}`).toBeLessThan(0.1)
    }
  })

  it('sees what a probe at 1.25 loses in a shallow buffer, over any floor', () => {
    for (const rate of [0, 0.02, 0.05]) {
      const judge = trained(rate)
      expect(verdicts(judge, rate + 0.2, 33)).toBeGreaterThan(0.9)
      expect(verdicts(judge, rate + 0.2, 330)).toBeGreaterThan(0.999)
    }
  })

  it('takes a single loss for congestion only with a queue in sight', () => {
    const judge = new LossJudge()
    expect(judge.tooMuch(1, 33, false)).toBe(false)
    expect(judge.tooMuch(1, 33, true)).toBe(true)
    // The draft's 2 % of a large flight.
    expect(judge.tooMuch(6, 333, true)).toBe(false)
    expect(judge.tooMuch(7, 333, true)).toBe(true)
    expect(judge.tooMuch(0, 333, true)).toBe(false)
  })
})
