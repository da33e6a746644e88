import { describe, expect, it } from 'vitest'
import { second, toInstant } from '../../../src/core/base/time.ts'
import { powerModes } from '../../../src/core/base/power-mode.ts'
import { dutyCost, dutyOf, paceCosts, scanWindow } from '../../../src/core/ble/duty.ts'

const round = (value: number): number => Math.round(value * 10_000) / 10_000

describe('a power mode', () => {
  it('costs what the documentation says: advertisements, share of listening, and how long a friend may be overlooked', () => {
    const costs = powerModes.map((mode) => [true, false].map((searching) => {
      const { advertiseMs, listens, found } = dutyCost(mode, searching)
      return [advertiseMs, round(listens), found / second]
    }))
    expect(costs).toEqual([
      [[100, 0.5, 0.2], [1000, 0.06, 15]],
      [[100, 0.25, 10.1], [1000, round(1 / 60), 56]],
      [[1000, round(1 / 30), 26], [1000, round(4 / 1500), 297]],
    ])
  })

  it('is dearer in each respect than the next one', () => {
    for (const searching of [true, false]) {
      const listens = powerModes.map((mode) => dutyCost(mode, searching).listens)
      expect(listens).toEqual([...listens].sort((a, b) => b - a))
    }
  })

  it('listens in each window for longer than a slow advertiser pauses', () => {
    for (const mode of powerModes) for (const searching of [true, false]) {
      const { scan } = dutyOf(mode, searching)
      if (scan.pace === 'slow') expect(scan.window * paceCosts.slow.share).toBeGreaterThanOrEqual(0.8 * second)
    }
  })

  it('opens its window at the beginning of each period', () => {
    const { scan } = dutyOf('saver', false)
    const from = toInstant(7 * second)
    expect(scanWindow(scan, from, toInstant(8 * second))).toEqual({ open: true, until: from + scan.window })
    expect(scanWindow(scan, from, toInstant(100 * second))).toEqual({ open: false, until: from + scan.period })
  })
})
