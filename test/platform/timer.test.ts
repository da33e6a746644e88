import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { millisecond, never, second, toInstant, toWallTime, type Duration, type Now } from '../../src/core/base/time.ts'
import { Clock } from '../../src/platform/clock.ts'
import { Timer, type TimerSystem } from '../../src/platform/timer.ts'

interface Pending {
  readonly run: () => void
  readonly at: number
}

/** An event loop in virtual time. An empty turn costs some microseconds; Node's clock for timers has whole milliseconds. */
class Loop implements TimerSystem {
  time = 10_000_000
  turnCost: Duration = 3
  timeouts = new Set<Pending>()
  immediates = new Set<Pending>()
  timeoutsMade = 0
  turns = 0
  busy: Duration = 0

  now(): Now {
    return { mono: toInstant(this.time), wall: toWallTime(0) }
  }

  setTimeout(run: () => void, milliseconds: number): Pending {
    this.timeoutsMade++
    const pending = { run, at: Math.floor(this.time / millisecond) * millisecond + milliseconds * millisecond }
    this.timeouts.add(pending)
    return pending
  }

  clearTimeout(handle: unknown): void {
    this.timeouts.delete(handle as Pending)
  }

  setImmediate(run: () => void): Pending {
    const pending = { run, at: this.time }
    this.immediates.add(pending)
    return pending
  }

  clearImmediate(handle: unknown): void {
    this.immediates.delete(handle as Pending)
  }

  /** Runs until nothing is left to do before `end`. */
  run(end: number, external: { at: number; run: () => void }[] = []): void {
    for (;;) {
      const soonest = Math.min(...[...this.timeouts].map(({ at }) => at), external[0]?.at ?? Infinity, Infinity)
      if (this.immediates.size > 0) {
        this.turns++
        this.busy += this.turnCost
        this.time += this.turnCost
      } else {
        if (soonest > end) break
        this.time = Math.max(this.time, soonest)
      }
      for (const pending of [...this.timeouts]) if (pending.at <= this.time && this.timeouts.delete(pending)) pending.run()
      while (external.length > 0 && external[0]!.at <= this.time) external.shift()!.run()
      for (const pending of [...this.immediates]) if (this.immediates.delete(pending)) pending.run()
      if (this.time > end) break
    }
    this.time = Math.max(this.time, end)
  }
}

function make(): { loop: Loop; timer: Timer; fired: number[] } {
  const loop = new Loop()
  const fired: number[] = []
  return { loop, fired, timer: new Timer(loop, (now) => fired.push(now.mono), loop) }
}

const at = (loop: Loop, duration: Duration): ReturnType<typeof toInstant> => toInstant(loop.time + duration)

describe('Timer', () => {
  it('never turns the loop for a coarse deadline, and is at most two milliseconds late', () => {
    for (const duration of [1, 50, 999, 1000, 1001, 20_300, 5 * second]) {
      const { loop, timer, fired } = make()
      loop.time += 377
      const deadline = at(loop, duration)
      timer.arm(deadline, false)
      loop.run(loop.time + duration + 3 * millisecond)
      expect(fired).toHaveLength(1)
      expect(fired[0]! - deadline).toBeGreaterThanOrEqual(0)
      expect(fired[0]! - deadline).toBeLessThanOrEqual(2 * millisecond)
      expect([loop.turns, loop.timeoutsMade]).toEqual([0, 1])
    }
  })

  it('goes to sleep when a coarse deadline takes the place of a precise one', () => {
    const { loop, timer, fired } = make()
    timer.arm(at(loop, 500))
    timer.arm(at(loop, 800), false)
    loop.run(loop.time + 3 * millisecond)
    expect(fired).toHaveLength(1)
    expect(loop.turns).toBe(1)
  })

  it('fires once, not before the deadline and at most a millisecond or so after', () => {
    for (const duration of [1, 50, 999, 1000, 1001, 1500, 20_300, 5 * second, 95 * second]) {
      const { loop, timer, fired } = make()
      loop.time += 377
      const deadline = at(loop, duration)
      timer.arm(deadline)
      loop.run(loop.time + 200 * second)
      expect(fired, `${duration} µs`).toHaveLength(1)
      expect(fired[0]! - deadline, `${duration} µs`).toBeGreaterThanOrEqual(0)
      expect(fired[0]! - deadline, `${duration} µs`).toBeLessThanOrEqual(1100)
    }
  })

  it('meets deadlines within a millisecond by turning the loop', () => {
    const { loop, timer, fired } = make()
    timer.arm(at(loop, 200))
    expect(loop.timeouts.size).toBe(0)
    loop.run(loop.time + second)
    expect(fired[0]! - 10_000_200).toBeLessThanOrEqual(loop.turnCost)
    expect(loop.turns).toBeGreaterThan(10)
  })

  it('fires what is due already, in the next turn and not in this call', () => {
    const { loop, timer, fired } = make()
    timer.arm(toInstant(loop.time - 5))
    expect(fired).toEqual([])
    loop.run(loop.time + 100)
    expect(fired).toHaveLength(1)
  })

  it('arms anew only for an earlier deadline', () => {
    const { loop, timer, fired } = make()
    timer.arm(at(loop, 10 * millisecond))
    for (let i = 1; i < 100; i++) timer.arm(at(loop, (10 + i) * millisecond))
    expect(loop.timeoutsMade).toBe(1)
    loop.run(loop.time + second)
    // The early wake-up found nothing due and went on waiting: one more timer, one call.
    expect(loop.timeoutsMade).toBeLessThanOrEqual(3)
    expect(fired).toHaveLength(1)
    expect(fired[0]).toBeGreaterThanOrEqual(10_109_000)
    timer.arm(at(loop, 10 * millisecond))
    timer.arm(at(loop, 5 * millisecond))
    loop.run(loop.time + second)
    expect(fired).toHaveLength(2)
  })

  it('makes no new timer when the same deadline is armed after every batch', () => {
    const { loop, timer, fired } = make()
    const deadline = at(loop, 10_500)
    const batches = Array.from({ length: 90 }, (_, i) => ({ at: loop.time + i * 100, run: () => timer.arm(deadline) }))
    loop.run(loop.time + 9_000, batches)
    expect(loop.timeoutsMade).toBeLessThanOrEqual(2)
    loop.run(loop.time + second)
    expect(fired).toHaveLength(1)
    expect(fired[0]! - deadline).toBeLessThanOrEqual(500)
  })

  it('with nothing armed it costs nothing', () => {
    const { loop, timer, fired } = make()
    timer.arm(at(loop, 5 * millisecond))
    timer.arm(never)
    loop.run(loop.time + 3600 * second)
    expect(fired).toEqual([])
    expect(loop.timeoutsMade).toBe(1)
    expect(loop.timeouts.size + loop.immediates.size).toBe(0)
  })

  it('stops', () => {
    const { loop, timer, fired } = make()
    timer.arm(at(loop, 5 * millisecond))
    timer.stop()
    expect(loop.timeouts.size).toBe(0)
    timer.arm(at(loop, 100))
    timer.stop()
    expect(loop.immediates.size).toBe(0)
    loop.run(loop.time + second)
    expect(fired).toEqual([])
    timer.arm(at(loop, 100))
    loop.run(loop.time + second)
    expect(fired).toHaveLength(1)
  })

  it('keeps at most a quarter of a core busy with short deadlines, and still fires all of them', () => {
    const loop = new Loop()
    let count = 0
    const timer: Timer = new Timer(loop, (now) => {
      count++
      timer.arm(toInstant(now.mono + 300))
    }, loop)
    timer.arm(at(loop, 300))
    const began = loop.time
    loop.run(loop.time + 10 * second)
    expect(loop.busy / (loop.time - began)).toBeLessThan(0.27)
    // Never slower than one a millisecond and a bit.
    expect(count).toBeGreaterThan(8_000)
  })

  it('a core that always says "now" does not take the machine with it', () => {
    const loop = new Loop()
    let count = 0
    const timer: Timer = new Timer(loop, (now) => {
      count++
      timer.arm(now.mono)
    }, loop)
    timer.arm(at(loop, 0))
    const began = loop.time
    loop.run(loop.time + second)
    expect(loop.busy / (loop.time - began)).toBeLessThan(0.3)
    expect(count).toBeGreaterThan(800)
  })

  it('is not put off for ever when a short deadline is armed again and again with the budget spent', () => {
    const loop = new Loop()
    loop.turnCost = 20
    const fired: number[] = []
    const timer: Timer = new Timer(loop, (now) => fired.push(now.mono), loop)
    const began = loop.time
    // Every 100 µs a batch arrives and the pump arms what is still the next deadline: half a millisecond after the last.
    const batches = Array.from({ length: 10_000 }, (_, i) => ({ at: began + i * 100, run: () => timer.arm(toInstant((fired.at(-1) ?? began) + 500)) }))
    loop.run(began + second, batches)
    const gaps = fired.map((time, i) => time - (fired[i - 1] ?? began))
    expect(fired.length).toBeGreaterThan(500)
    expect(Math.max(...gaps)).toBeLessThan(2.5 * millisecond)
  })

  it('notices a deadline that passed while the machine slept, at the latest half a minute after waking', () => {
    const loop = new Loop()
    let slept = 0
    const fired: number[] = []
    const timer = new Timer({ now: () => ({ mono: toInstant(loop.time + slept), wall: toWallTime(0) }) }, (now) => fired.push(now.mono), loop)
    timer.arm(toInstant(loop.time + 3600 * second))
    loop.run(loop.time + 10 * second)
    slept += 7200 * second
    loop.run(loop.time + 31 * second)
    expect(fired).toHaveLength(1)
  })

  it('against a plain model: every deadline that was not taken back fires once, in time', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(3000), fc.nat(6000), fc.boolean()), { maxLength: 80 }), (steps) => {
      const { loop, timer, fired } = make()
      let wanted = never as number
      for (const [wait, duration, take] of steps) {
        const before = fired.length
        loop.run(loop.time + wait)
        if (wanted < Infinity && wanted + 1100 < loop.time) expect(fired.length).toBe(before + 1)
        if (fired.length > before) {
          expect(fired.length).toBe(before + 1)
          expect(fired.at(-1)).toBeGreaterThanOrEqual(wanted)
          wanted = Infinity
        }
        wanted = take ? Infinity : loop.time + duration
        timer.arm(toInstant(wanted))
      }
    }), { numRuns: 300 })
  })

  it('runs on the real event loop', async () => {
    const clock = new Clock()
    const late: number[] = []
    for (const duration of [100, 300, 5_000]) {
      const deadline = toInstant(clock.now().mono + duration)
      const mono = await new Promise<number>((resolve) => new Timer(clock, (now) => resolve(now.mono)).arm(deadline))
      late.push(mono - deadline)
    }
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...late)).toBeLessThan(500 * millisecond)
  })
})
