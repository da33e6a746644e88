import { describe, expect, it } from 'vitest'
import { BulkPlayer, BulkWorld, linkOf, megabits } from '../../support/bulk.ts'
import { SECOND, SimWorld } from '../../support/sim-world.ts'

const MODEL = 'model'
const CUBIC = 'cubic'
const both = [MODEL, CUBIC] as const

/** Mbit/s of messages between the 1st and the 11th second of a flood, and the round trip meanwhile, in milliseconds. */
function flood(congestion: 'model' | 'cubic', rate: number, rttMs: number, buffer: number, loss: number, seed = 1): { goodput: number; rttMean: number; rttMax: number } {
  const world = new BulkWorld(seed, linkOf(rate, rttMs, buffer, loss), congestion)
  world.run(1)
  const before = world.receiver.receivedBytes
  const rtts: number[] = []
  for (let i = 0; i < 200; i++) {
    world.run(0.05)
    rtts.push(world.sender.pathTo(world.receiver).rtt! / 1000)
  }
  return {
    goodput: ((world.receiver.receivedBytes - before) * 8) / (10 * SECOND), rttMean: rtts.reduce((a, b) => a + b) / rtts.length, rttMax: Math.max(...rtts),
  }
}

/** Jain's index of fairness: 1 = equal, 1 / n = one has all. */
function jain(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0)
  return (sum * sum) / (values.length * values.reduce((a, b) => a + b * b, 0))
}

/** Two senders to one receiver through one queue; the second comes 3 s later. Mbit/s of each between 6 and 16 s. */
function shared(congestion: readonly ['model' | 'cubic', 'model' | 'cubic'], rate: number, rttMs: number, buffer: number, seed: number): number[] {
  const world = new BulkWorld(seed, linkOf(rate, rttMs, buffer), congestion[0])
  const second = new BulkPlayer(world, 'second', 3, '10.0.0.3', { congestion: congestion[1] })
  const sink = new BulkPlayer(world, 'sink', 4, '10.0.0.4', {})
  world.network.wire(second.address, sink.address).bottleneck = world.network.wire(world.sender.address, world.receiver.address).bottleneck
  world.run(3)
  world.join(second, sink)
  world.run(3)
  const before = [world.receiver.receivedBytes, sink.receivedBytes]
  world.run(10)
  return [world.receiver.receivedBytes - before[0]!, sink.receivedBytes - before[1]!].map((bytes) => (bytes * 8) / (10 * SECOND))
}

describe('congestion control between two real endpoints', () => {
  it('is what the configuration says, model-based by default', () => {
    const named = (config: { congestion?: 'model' | 'cubic' }): string => {
      const world = new SimWorld(1)
      const [a, b] = [new BulkPlayer(world, 'a', 1, '10.0.0.1', config), new BulkPlayer(world, 'b', 2, '10.0.0.2', {})]
      a.know(b)
      b.know(a)
      a.connect(b)
      world.run(1)
      return a.pathTo(b).congestion
    }
    expect(named({})).toBe('model-based')
    expect(named({ congestion: CUBIC })).toBe('cubic')
  })

  it('keeps nine tenths of the goodput at 2 % random loss and 40 ms, both ways; CUBIC less than half', () => {
    for (const rate of [10, 20]) {
      const lossless = flood(MODEL, rate, 40, 1, 0).goodput
      expect(lossless / rate).toBeGreaterThan(0.9)
      const model = flood(MODEL, rate, 40, 1, 0.02).goodput
      expect(model / lossless, `${rate} Mbit/s`).toBeGreaterThan(0.9)
      expect(flood(CUBIC, rate, 40, 1, 0.02).goodput / lossless).toBeLessThan(0.5)
    }
  })

  it('keeps four fifths at 5 %', () => {
    const model = flood(MODEL, 20, 40, 1, 0.05).goodput
    expect(model / 20).toBeGreaterThan(0.8)
    expect(model / flood(CUBIC, 20, 40, 1, 0.05).goodput).toBeGreaterThan(5)
  })

  it('leaves a deep buffer nearly empty: the round trip under load stays near that of the bare path', () => {
    const { goodput, rttMean, rttMax } = flood(MODEL, 20, 40, 5, 0)
    expect(goodput / 20).toBeGreaterThan(0.9)
    expect(rttMean).toBeLessThan(50)
    expect(rttMax).toBeLessThan(80)
    // CUBIC fills it: what the test would see if the queue were ours.
    expect(flood(CUBIC, 20, 40, 5, 0).rttMax).toBeGreaterThan(150)
  })

  it('is fair: two sessions through one queue, and a CUBIC one beside it', () => {
    for (const each of both) {
      for (const [buffer, seed] of [[0.5, 3], [1, 1], [3, 2]] as const) {
        const shares = shared([each, each], 20, 40, buffer, seed)
        expect(jain(shares), `${each}, buffer ${buffer}: ${shares.join(' ')}`).toBeGreaterThan(0.8)
        expect(shares[0]! + shares[1]!).toBeGreaterThan(17)
      }
    }
    for (const first of both) {
      const shares = shared(first === MODEL ? [MODEL, CUBIC] : [CUBIC, MODEL], 20, 40, 1, 1)
      expect(Math.min(...shares), `${first} first: ${shares.join(' ')}`).toBeGreaterThan(3)
    }
  })

  it('holds its rate on a machine that lets it run late, and does not follow its own stalls down', () => {
    // Milliseconds that sender and receiver come late in the mean, and the share of the link that is left at least: a quarter of a round trip is made up for.
    for (const [lateMs, share] of [[5, 0.8], [10, 0.7], [20, 0.6]] as const) {
      const world = new BulkWorld(1, linkOf(50, 40, 1.5), MODEL)
      const random = world.random.fork()
      for (const player of [world.sender, world.receiver]) player.node.lateness = () => random.unit() * 2000 * lateMs
      world.run(4)
      expect(world.goodput(6) / 50, `${lateMs} ms late`).toBeGreaterThan(share)
    }
  })

  it('starts again after a silence without a burst that a small buffer could not hold', () => {
    const world = new BulkWorld(1, linkOf(20, 40, 0.5), MODEL)
    world.run(4)
    world.sender.pause()
    world.run(20)
    const lost = world.sender.counter('packets_lost')
    const before = world.receiver.receivedBytes
    world.sender.resume()
    world.run(1)
    expect(world.sender.counter('packets_lost') - lost).toBeLessThan(10)
    expect(((world.receiver.receivedBytes - before) * 8) / SECOND).toBeGreaterThan(0.8 * 20)
  })

  it('begins anew on another path, and keeps what it learnt when only the port changed', () => {
    for (const [to, keeps] of [['10.0.0.1', true], ['10.9.9.9', false]] as const) {
      const world = new BulkWorld(1, linkOf(40, 40, 1), MODEL)
      world.run(3)
      const before = world.sender.pathTo(world.receiver)
      expect(before.congestionWindow).toBeGreaterThan(megabits(40) * 40_000)
      world.receiver.node.move(world.addressOf(to === '10.0.0.1' ? '10.0.0.2' : to, 7777))
      const switched = world.until(() => world.sender.pathTo(world.receiver).address.join() !== before.address.join(), 5)
      expect(switched).toBeLessThan(3)
      const after = world.sender.pathTo(world.receiver)
      if (keeps) expect(after.congestionWindow).toBeGreaterThan(0.5 * before.congestionWindow)
      else expect(after.congestionWindow).toBeLessThan(0.2 * before.congestionWindow)
      world.run(1)
      expect(world.goodput(3) / 40).toBeGreaterThan(0.85)
    }
  })
})
