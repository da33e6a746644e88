/** Path MTU discovery (RFC 8899, WIRE.md §6) between two real endpoints in virtual time. */
import { describe, expect, it } from 'vitest'
import type { PathDecision } from '../../../../src/core/path/path-log.ts'
import { perfectWire, type WireConditions } from '../../../../src/sim/network.ts'
import { BulkPlayer, BulkWorld, linkOf } from '../../../support/bulk.ts'

const OVERHEAD = 29
const SIZES = [1152, 1408, 4096, 8192, 16_320].map((plain) => plain + OVERHEAD)

/** The size to be used on a path that carries so much. */
function sizeFor(mtu: number): number {
  return SIZES.filter((size) => size <= mtu).at(-1)!
}

const wire = (mtu: number, loss = 0): WireConditions => ({ ...linkOf(50, 20, 2, loss), mtu })

function sizes(world: BulkWorld): number[] {
  return [world.sender.pathTo(world.receiver).datagramSize, world.receiver.pathTo(world.sender).datagramSize]
}

function decisions(world: BulkWorld): readonly PathDecision[] {
  const { node } = world.sender
  return node.endpoint.peerWhy(node.now(), world.sender.handleOf(world.receiver))!.decisions
}

/** What is queued arrives: all of it, once, in order, unchanged. */
function expectWhole(world: BulkWorld): void {
  world.sender.pause()
  world.run(20)
  expect(world.receiver.receivedBytes).toBe(world.sender.sentBytes)
  expect(world.receiver.misplaced).toBe(0)
}

describe('path MTU discovery', () => {
  it('finds the largest rung that passes, in both directions, under full load', () => {
    for (const mtu of [1181, 1300, 1436, 1437, 1500, 4124, 4125, 8220, 8221, 9000, 16_348, 16_349, 16_384]) {
      const world = new BulkWorld(1, wire(mtu), 'model')
      world.run(3)
      expect(sizes(world), `MTU ${mtu}`).toEqual([sizeFor(mtu), sizeFor(mtu)])
      expect(world.sender.counter('mtu_black_holes')).toBe(0)
      // Three tries of the first that fails.
      expect(world.sender.counter('mtu_probes_sent')).toBe(SIZES.indexOf(sizeFor(mtu)) + (mtu < 16_349 ? 3 : 0))
      expect(world.receiver.misplaced).toBe(0)
    }
  })

  it('finds it on a silent path too', () => {
    const world = new BulkWorld(1, wire(9000), 'model')
    world.sender.pause()
    world.run(5)
    expect(sizes(world)).toEqual([8221, 8221])
  })

  it('does not take a lost probe for congestion', () => {
    const lossless = { ...perfectWire, rate: 2, queueBytes: 10_000_000, delay: 10_000, mtu: 1472 }
    for (const congestion of ['model', 'cubic'] as const) {
      // The other world is the same, but for the three probes of 4125 bytes that do not pass: its peer takes none.
      const [tried, spared] = [new BulkWorld(1, lossless, congestion), new BulkWorld(1, lossless, congestion, { maxDatagram: 1472 })]
      for (const world of [tried, spared]) world.run(5)
      expect(tried.sender.counter('mtu_probes_sent')).toBe(4)
      expect(tried.sender.counter('packets_lost')).toBe(3)
      expect(spared.sender.counter('mtu_probes_sent')).toBe(1)
      expect(spared.sender.counter('packets_lost')).toBe(0)
      const windows = [tried, spared].map((world) => world.sender.pathTo(world.receiver).congestionWindow)
      expect(windows[0]! / windows[1]!, congestion).toBeGreaterThan(0.95)
    }
  })


  for (const congestion of ['model', 'cubic'] as const) {
    for (const [from, to] of [[16_384, 1472], [9000, 1300], [1472, 1400]] as const) {
      it(`survives an MTU that shrinks from ${from} to ${to} in mid-transfer (${congestion}): sends in smaller pieces what was lost, and looks again after a minute`, () => {
        const world = new BulkWorld(1, wire(from), congestion)
        world.run(3)
        expect(sizes(world)[0]).toBe(sizeFor(from))
        world.network.setConditions(wire(to))
        expect(world.until(() => sizes(world)[0] === 1181, 10)).toBeLessThan(1.5)
        expect(world.sender.counter('mtu_black_holes')).toBe(1)
        expect(decisions(world).at(-1)).toMatchObject({ cause: 'black_hole', from: sizeFor(from), to: 1181 })
        expect(world.sender.events.some((event) => event.kind === 'path-mtu' && event.cause === 'black_hole' && event.to === 1181)).toBe(true)
        // In CUBIC the losses of the black hole count as one loss event; the model forgets them at its next probe.
        world.run(3)
        expect(world.goodput(4), congestion).toBeGreaterThan(0.8 * 50)
        expectWhole(world)
        world.run(40)
        expect(sizes(world)[0], 'after a minute').toBe(sizeFor(to))
      })
    }
  }

  it('survives it in both directions at once', () => {
    const world = new BulkWorld(1, wire(9000), 'model')
    world.receiver.flood(world.sender)
    world.run(3)
    expect(sizes(world)).toEqual([8221, 8221])
    world.network.setConditions(wire(1300))
    expect(world.until(() => sizes(world).every((size) => size === 1181), 10)).toBeLessThan(4)
    world.receiver.pause()
    expectWhole(world)
    expect(world.sender.receivedBytes).toBe(world.receiver.sentBytes)
    expect(world.sender.misplaced).toBe(0)
  })

  it('grows with a path that grew, after ten minutes', () => {
    const world = new BulkWorld(1, wire(1472), 'model')
    world.sender.pause()
    world.run(10)
    expect(sizes(world)).toEqual([1437, 1437])
    world.network.setConditions(wire(9000))
    world.run(585)
    expect(sizes(world)).toEqual([1437, 1437])
    world.run(20)
    expect(sizes(world)).toEqual([8221, 8221])
  })

  it('takes random loss, up to a tenth of all, for what it is', () => {
    for (const loss of [0.02, 0.05, 0.1]) {
      const world = new BulkWorld(1, wire(1472, loss), 'model')
      world.run(6)
      expect(world.sender.counter('packets_lost')).toBeGreaterThan(300)
      expect(world.sender.counter('mtu_black_holes'), `loss ${loss}`).toBe(0)
      expect(sizes(world)[0]).toBe(1437)
    }
  })

  it('stays at the base where the link may fragment, and within what the peer takes', () => {
    const fragmenting = new BulkWorld(1, wire(16_384), 'model', { mayFragment: true })
    fragmenting.run(3)
    expect(sizes(fragmenting)).toEqual([1181, 1181])
    expect(fragmenting.sender.counter('mtu_probes_sent')).toBe(0)
    const limited = new BulkWorld(1, wire(16_384), 'model', { maxDatagram: 5000 })
    limited.run(3)
    expect(sizes(limited)).toEqual([4125, 16_349])
    // Less than every path must carry is not believed.
    const tiny = new BulkWorld(1, wire(16_384), 'model', { maxDatagram: 0 })
    tiny.run(3)
    expect(sizes(tiny)).toEqual([1181, 16_349])
  })

  it('goes down at once when the system refuses a size', () => {
    const world = new BulkWorld(1, wire(16_384), 'model')
    world.run(3)
    world.sender.node.interfaceMtu = 4500
    world.run(0.05)
    expect(sizes(world)[0]).toBe(4125)
    expect(world.sender.counter('mtu_black_holes')).toBe(0)
    expect(world.goodput(3)).toBeGreaterThan(0.8 * 50)
    expectWhole(world)
    world.sender.node.interfaceMtu = Infinity
    world.run(605)
    expect(sizes(world)[0]).toBe(16_349)
  })

  it('begins anew on another path', () => {
    const world = new BulkWorld(1, wire(9000), 'model')
    world.run(3)
    expect(sizes(world)[0]).toBe(8221)
    world.network.setConditions(wire(1472))
    world.receiver.node.move(world.addressOf('10.9.9.9', 7000))
    world.receiver.node.act((endpoint, now) => { endpoint.ping(now, world.receiver.handleOf(world.sender)) })
    world.run(6)
    expect(sizes(world)[0]).toBe(1437)
    expectWhole(world)
  })

  it('is told apart from a path that carries nothing: that one is left, and its MTU is not doubted', () => {
    const world = new BulkWorld(1, wire(9000), 'model')
    world.run(3)
    // Large datagrams vanish: small ones show that the path lives, so nobody looks for another one.
    world.network.setConditions(wire(1300))
    expect(world.until(() => sizes(world)[0] === 1181, 10)).toBeLessThan(1.5)
    world.run(3)
    expect(decisions(world).slice(-1)).toMatchObject([{ kind: 'mtu', cause: 'black_hole' }])
    expect(decisions(world).filter(({ kind }) => kind === 'dial')).toEqual([])
    expect(world.sender.counter('mtu_black_holes')).toBe(1)
    // Everything vanishes: TCP is dialed, then there is no path, and the MTU stays what it is.
    const silent = new BulkWorld(1, wire(9000), 'model')
    silent.run(3)
    silent.network.setConditions(wire(9000, 1))
    silent.run(2)
    expect(decisions(silent).slice(-3)).toMatchObject([{ kind: 'doubt' }, { kind: 'dial', cause: 'doubt' }, { kind: 'silent' }])
    expect(sizes(silent)[0]).toBe(8221)
    silent.run(10)
    expect(decisions(silent).some((decision) => decision.kind === 'path' && decision.rule === 'black_hole' && decision.to === undefined)).toBe(true)
    expect(silent.sender.counter('mtu_black_holes')).toBe(0)
  })

  it('finds it in spite of lost and overtaken probes, and holds it', () => {
    let found = 0
    for (let seed = 1; seed <= 10; seed++) {
      const world = new BulkWorld(seed, { ...wire(9000, 0.05), jitter: 5000, reorder: 0.05, reorderDelay: 15_000, duplicate: 0.02 }, 'model')
      world.run(8)
      expect(SIZES.filter((size) => size <= 9000)).toContain(sizes(world)[0])
      expect(world.sender.counter('mtu_black_holes')).toBe(0)
      expect(world.receiver.misplaced).toBe(0)
      if (sizes(world)[0] === 8221) found++
    }
    // Three tries of each of three rungs, each lost once in twenty.
    expect(found).toBe(10)
  })

  it('is a BulkPlayer that notices a message in the wrong place', () => {
    const world = new BulkWorld(1, wire(1472), 'model')
    const other = new BulkPlayer(world, 'other', 9, '10.0.0.9', {})
    world.join(other, world.receiver)
    world.run(1)
    expect(world.receiver.misplaced).toBeGreaterThan(0)
  })
})
