import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BleWatch, type BleEvent } from '../../../src/daemon/ble/ble-watch.ts'

const device = (rssi: number, ageMs = 0): BleEvent => ({ name: 'event.ble.device', params: { address: 'x', rssi, ageMs, inRange: true } })

describe('what happens by Bluetooth', () => {
  let scene = new Map<string, BleEvent>()
  let looks = 0
  let told: string[] = []
  let watch: BleWatch

  beforeEach(() => {
    vi.useFakeTimers()
    scene = new Map()
    looks = 0
    told = []
    watch = new BleWatch(() => {
      looks++
      return new Map(scene)
    }, (key) => told.push(key))
  })
  afterEach(() => {
    watch.watch(false)
    vi.useRealTimers()
  })

  it('is looked at only while somebody listens', () => {
    watch.poke()
    vi.advanceTimersByTime(10_000)
    expect(looks).toBe(0)
    watch.watch(true)
    vi.advanceTimersByTime(3000)
    expect(looks).toBe(4)
    watch.watch(false)
    watch.poke()
    vi.advanceTimersByTime(10_000)
    expect(looks).toBe(4)
  })

  it('is told when it comes, changes and goes, at most ten times a second however much happens', () => {
    watch.watch(true)
    for (let i = 0; i < 1000; i++) {
      scene.set('device x', device(-20 - (i % 90)))
      watch.poke()
      vi.advanceTimersByTime(1)
    }
    expect(told.length).toBeGreaterThan(5)
    expect(told.length).toBeLessThanOrEqual(11)
    told = []
    scene.clear()
    watch.poke()
    vi.advanceTimersByTime(100)
    expect(told).toEqual(['device x'])
    expect(watch.describe('device x')).toEqual({ name: 'event.ble.device', params: { address: 'x', inRange: false } })
    expect(watch.describe('link ble:1')).toEqual({ name: 'event.ble.link', params: { address: 'ble:1', open: false } })
    expect(watch.describe('pair abc')).toEqual({ name: 'event.ble.pairing', params: { peer: 'abc', state: 'forgotten' } })
  })

  it('is no news while a signal wavers or time goes by, but when it has moved by three decibels since it was told', () => {
    scene.set('device x', device(-60))
    watch.watch(true)
    for (const [rssi, times] of [[-61, 0], [-62, 0], [-63, 1], [-65, 0], [-66, 1]] as const) {
      told = []
      scene.set('device x', device(rssi, 500))
      vi.advanceTimersByTime(1000)
      expect([rssi, told.length]).toEqual([rssi, times])
    }
  })
})
