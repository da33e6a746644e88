import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hour, second } from '../../src/core/base/time.ts'
import { Clock, type ClockSources } from '../../src/platform/clock.ts'

class Machine implements ClockSources {
  awake = 1_000_000 // microseconds
  asleep = 0
  uptimeStep = 0.01
  uptimeReads = 0
  wallNow = 1_790_000_000_000

  monotonic(): number {
    return this.awake
  }

  uptime(): number {
    this.uptimeReads++
    return Math.floor((this.awake + this.asleep) / second / this.uptimeStep) * this.uptimeStep
  }

  wall(): number {
    return this.wallNow
  }
}

describe('Clock', () => {
  it('is the monotonic clock while nothing sleeps, and reads uptime at most once a second', () => {
    const machine = new Machine()
    const clock = new Clock(machine)
    for (let i = 0; i < 10_000; i++) {
      machine.awake += 1000
      expect(clock.now().mono).toBe(machine.awake)
    }
    expect(machine.uptimeReads).toBeLessThanOrEqual(11)
    expect(clock.slept).toBe(0)
  })

  it('counts sleep once, within a second of waking', () => {
    const machine = new Machine()
    const clock = new Clock(machine)
    machine.awake += 500_000
    const before = clock.now().mono
    machine.asleep += 8 * hour
    machine.awake += 500_001
    const woken = clock.now().mono
    expect(woken - before).toBeGreaterThan(8 * hour)
    expect(woken - before).toBeLessThan(8 * hour + 2 * second)
    machine.awake += 10 * second
    expect(clock.now().mono - woken).toBe(10 * second)
    expect(Math.abs(clock.slept - 8 * hour)).toBeLessThan(0.02 * second)
  })

  it('takes coarse and drifting uptime for what it is', () => {
    const machine = new Machine()
    machine.uptimeStep = 1
    const clock = new Clock(machine)
    for (let i = 0; i < 24 * 3600; i++) {
      machine.awake += 1.1 * second
      machine.asleep += 500 // 450 parts per million: uptime that follows a slewed wall clock
      clock.now()
    }
    expect(clock.slept).toBe(0)
    machine.asleep += 60 * second
    machine.awake += 1.1 * second
    clock.now()
    expect(Math.abs(clock.slept - 60 * second)).toBeLessThanOrEqual(1.1 * second)
  })

  it('never goes back, whatever the sources do', () => {
    fc.assert(fc.property(fc.array(fc.record({ awake: fc.nat(5e6), uptime: fc.oneof(fc.double(), fc.constant(undefined)) }), { maxLength: 60 }), (steps) => {
      let monotonic = 0
      let uptime: number | undefined = 0
      const clock = new Clock({ monotonic: () => monotonic, wall: () => 0, uptime: () => {
        if (uptime === undefined) throw new Error('EPERM')
        return uptime
      } })
      let last = -1
      for (const step of steps) {
        monotonic += step.awake
        uptime = step.uptime
        const { mono } = clock.now()
        expect(mono).toBeGreaterThanOrEqual(last)
        last = mono
      }
    }))
  })

  it('works without uptime, and finds sleep again when it comes back', () => {
    const machine = new Machine()
    let refused = true
    const clock = new Clock({ monotonic: () => machine.monotonic(), wall: () => machine.wall(), uptime: () => {
      if (refused) throw new Error('ERR_SYSTEM_ERROR')
      return machine.uptime()
    } })
    machine.asleep += hour
    machine.awake += 2 * second
    expect(clock.now().mono).toBe(machine.awake)
    refused = false
    machine.awake += 2 * second
    clock.now()
    machine.asleep += hour
    machine.awake += 2 * second
    clock.now()
    expect(Math.abs(clock.slept - hour)).toBeLessThan(0.02 * second)
  })

  it('returns one object, with the wall clock as it is', () => {
    const machine = new Machine()
    const clock = new Clock(machine)
    const now = clock.now()
    machine.wallNow -= 5_000_000
    expect(clock.now()).toBe(now)
    expect(now.wall).toBe(machine.wallNow)
  })

  it('runs on the real machine', async () => {
    const clock = new Clock()
    const before = clock.now().mono
    await new Promise((resolve) => setTimeout(resolve, 20))
    const { mono, wall } = clock.now()
    expect(mono - before).toBeGreaterThan(15_000)
    expect(mono - before).toBeLessThan(5 * second)
    expect(Math.abs(wall - Date.now())).toBeLessThan(1000)
  })
})
