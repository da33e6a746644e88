import { describe, expect, it } from 'vitest'
import { Cubic } from '../../../src/core/flow/cubic.ts'
import { ModelBased } from '../../../src/core/flow/model-based.ts'
import { bdp, LinkModel, megabits, millisecond, percentile, second, type Flow, type LinkOptions } from './link-model.ts'

const DATAGRAM = 1181
const AT = 6

/** A world that changes after six seconds of one bulk flow. */
function changed(link: LinkOptions, change: (model: LinkModel) => void, seed = 1): { model: LinkModel; flow: Flow; controller: ModelBased } {
  const model = new LinkModel(link, seed)
  const controller = new ModelBased(DATAGRAM, seed)
  const flow = model.flow({ controller })
  model.run(AT * second)
  change(model)
  model.link.takeDelays()
  return { model, flow, controller }
}

/** Mbit/s delivered in [from, to] seconds after the change. */
function rate(flow: Flow, from: number, to: number): number {
  return 8 * flow.throughput((AT + from) * second, (AT + to) * second)
}

describe('ModelBased: a path that changes', () => {
  const deep = { rate: megabits(20), delay: 20 * millisecond, queueBytes: 5 * bdp(20, 40), reorderDelay: 25 * millisecond }

  it('follows a rate that falls to a tenth, and empties the queue that made', () => {
    for (const seed of [1, 2, 3]) {
      const { model, flow } = changed(deep, ({ link }) => { link.rate = megabits(2) }, seed)
      model.run(1.5 * second)
      model.link.takeDelays()
      model.run(6.5 * second)
      expect(percentile(model.link.takeDelays(), 0.95) / 1000).toBeLessThan(60)
      expect(rate(flow, 1.5, 8)).toBeGreaterThan(1.7)
    }
  })

  it('follows a rate that falls to a third', () => {
    const { model, flow } = changed(deep, ({ link }) => { link.rate = megabits(7) })
    model.run(4 * second)
    model.link.takeDelays()
    model.run(4 * second)
    expect(percentile(model.link.takeDelays(), 0.95) / 1000).toBeLessThan(45)
    expect(rate(flow, 4, 8)).toBeGreaterThan(6)
  })

  it('finds a rate ten times as great within three seconds', () => {
    for (const seed of [1, 2, 3]) {
      const { model, flow } = changed({ rate: megabits(5), delay: 20 * millisecond, queueBytes: bdp(50, 40) }, ({ link }) => { link.rate = megabits(50) }, seed)
      model.run(6 * second)
      expect(rate(flow, 3, 6)).toBeGreaterThan(45)
    }
  })

  it('goes on over a path that is three times as long, and uses it fully within six seconds', () => {
    for (const seed of [1, 2, 3]) {
      const { model, flow, controller } = changed({ ...deep, queueBytes: 2 * bdp(20, 40) }, ({ link }) => { link.delay = 60 * millisecond }, seed)
      model.run(10 * second)
      expect(rate(flow, 0.5, 5)).toBeGreaterThan(6)
      expect(rate(flow, 6, 10)).toBeGreaterThan(17)
      expect(controller.model.minRtt / 1000).toBeGreaterThan(100)
    }
  })

  it('takes a shorter path at once', () => {
    const { model, flow, controller } = changed({ ...deep, delay: 60 * millisecond }, ({ link }) => { link.delay = 20 * millisecond })
    model.run(second)
    model.link.takeDelays()
    model.run(3 * second)
    expect(controller.model.minRtt / 1000).toBeLessThan(42)
    expect(rate(flow, 0.5, 4)).toBeGreaterThan(18)
    expect(percentile(model.link.takeDelays(), 0.9) / 1000).toBeLessThan(25)
  })

  it('comes back from a blackout of a second', () => {
    const { model, flow } = changed(deep, ({ link, scheduler }) => {
      link.loss = 1
      scheduler.at(scheduler.now + second, () => { link.loss = 0 })
    })
    model.run(6 * second)
    expect(rate(flow, 3, 6)).toBeGreaterThan(18)
  })

  it('learns that losses begin and end', () => {
    const { model, flow, controller } = changed({ ...deep, queueBytes: bdp(20, 40) }, ({ link }) => { link.loss = 0.05 })
    model.run(10 * second)
    expect(rate(flow, 2, 10)).toBeGreaterThan(15)
    expect(controller.losses.floor).toBeGreaterThan(0.02)
    model.link.loss = 0
    model.run(6 * second)
    expect(controller.losses.floor).toBeLessThan(0.005)
    expect(rate(flow, 12, 16)).toBeGreaterThan(18)
  })

  it('bears bursts of loss better than CUBIC does', () => {
    const link = { rate: megabits(20), delay: 20 * millisecond, queueBytes: bdp(20, 40), burstEnter: 0.002, burstLeave: 0.05 }
    const of = (make: () => ModelBased | Cubic): number => {
      const model = new LinkModel(link, 2)
      const flow = model.flow({ controller: make() })
      model.run(20 * second)
      return 8 * flow.throughput(2 * second, 20 * second)
    }
    const own = of(() => new ModelBased(DATAGRAM, 1))
    expect(own).toBeGreaterThan(13)
    expect(own).toBeGreaterThan(1.5 * of(() => new Cubic(DATAGRAM)))
  })

  it('takes back what it did for packets that were only late', () => {
    // For 30 ms packets come 25 ms behind their turn, as when a radio changes its cell: nearly all of them count as lost at first.
    const { model, flow, controller } = changed(deep, ({ link, scheduler }) => {
      link.reorder = 1
      scheduler.at(scheduler.now + 30 * millisecond, () => { link.reorder = 0 })
    })
    let bounded = false
    for (let ms = 0; ms < 200; ms += 5) {
      model.run(5 * millisecond)
      if (controller.bounds.inflightShort < Infinity) bounded = true
    }
    expect(flow.spurious).toBeGreaterThan(20_000)
    expect(bounded).toBe(true)
    expect(controller.bounds.inflightShort).toBe(Infinity)
    expect(controller.bounds.rateShort).toBe(Infinity)
  })
})
