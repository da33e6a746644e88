/** What ICMP says of datagrams: it hurries questions, and ends nothing. */
import { describe, expect, it } from 'vitest'
import { perfectWire, type Route } from '../../../../src/sim/network.ts'
import type { LinkId } from '../../../../src/core/endpoint/contract.ts'
import type { PathHint } from '../../../../src/core/path/attempts.ts'
import { SimWorld, type Player } from '../../../support/sim-world.ts'

class Pair {
  readonly world: SimWorld = new SimWorld(5)
  readonly a: Player
  readonly b: Player
  udp: 'open' | 'cut' = 'open'

  constructor() {
    this.world.network.route = (_from, _to, kind): Route => ({ conditions: { ...perfectWire, delay: 5000 }, cut: kind === 'udp' && this.udp === 'cut' })
    this.a = this.world.player('a', 1, '11.0.0.1', {}, true)
    this.b = this.world.player('b', 2, '11.0.0.2', {}, true)
    this.a.know(this.b)
    this.b.know(this.a)
  }

  connect(): void {
    this.a.connect(this.b)
    expect(this.world.until(() => this.a.stateOf(this.b) === 'connected', 5)).toBeLessThan(5)
    this.world.run(3)
  }

  hint(what: Partial<PathHint> = {}): void {
    const { endpoint } = this.a.node
    const link = [...Array(8).keys()].map((i) => i as LinkId)
    this.a.node.act((_endpoint, now) => { for (const one of link) endpoint.handleHints(now, one, [{ address: this.b.address, reason: 'refused', largest: 0, ...what }]) })
  }

  get path(): { readonly kind: string; readonly datagramSize: number; readonly active: boolean } {
    return this.a.node.endpoint.peerStats(this.a.handleOf(this.b))!.paths.find(({ active }) => active)!
  }
}

describe('what ICMP says', () => {
  it('of a path that works ends nothing and moves nothing, however often', () => {
    const pair = new Pair()
    pair.connect()
    for (let i = 0; i < 100; i++) {
      pair.hint({ reason: i % 2 === 0 ? 'refused' : 'unreachable' })
      pair.world.run(0.05)
    }
    expect([pair.path.kind, pair.a.stateOf(pair.b)]).toEqual(['udp', 'connected'])
    expect(pair.a.counter('links_dialed')).toBe(0)
    // Asked once a second, not each time.
    expect(pair.a.counter('hints_followed')).toBeGreaterThanOrEqual(5)
    expect(pair.a.counter('hints_followed')).toBeLessThanOrEqual(7)
  })

  it('of a dial tries TCP at once', () => {
    const pair = new Pair()
    pair.udp = 'cut'
    pair.a.connect(pair.b)
    pair.world.run(0.05)
    pair.hint()
    expect(pair.world.until(() => pair.a.stateOf(pair.b) === 'connected', 5)).toBeLessThan(0.5)
    expect(pair.path.kind).toBe('tcp')
  })

  it('of a size searches it from the base, which is over soon when it is not true, and at most every 10 s', () => {
    const pair = new Pair()
    pair.connect()
    pair.world.run(5)
    const before = pair.path.datagramSize
    expect(before).toBeGreaterThan(1500)
    // As large as what is sent, and no word of a size: nothing.
    pair.hint({ reason: 'failed', largest: 65_535 })
    expect(pair.path.datagramSize).toBe(before)
    pair.hint({ reason: 'failed', largest: 68 })
    expect(pair.path.datagramSize).toBe(1181)
    pair.world.run(5)
    expect(pair.path.datagramSize).toBe(before)
    pair.hint({ reason: 'failed', largest: 1300 })
    expect(pair.path.datagramSize).toBe(before)
    pair.world.run(6)
    pair.hint({ reason: 'failed', largest: 1300 })
    expect(pair.path.datagramSize).toBe(1181)
  })
})
