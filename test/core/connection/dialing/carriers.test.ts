/** Connections that are dialed beside UDP: when, where to, and what a refusal leads to. */
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../../src/core/base/address.ts'
import { ownCandidate } from '../../../../src/core/path/candidates.ts'
import { perfectWire, type Route } from '../../../../src/sim/network.ts'
import { SimWorld, type Player } from '../../../support/sim-world.ts'

/** Without UDP. `b` has no listener, unless told otherwise. */
class Blocked {
  readonly world: SimWorld = new SimWorld(11)
  readonly a: Player
  readonly b: Player
  readonly datagrams = new Set<string>()
  silent = false

  constructor(listening = false) {
    this.world.network.route = (_from, to, kind): Route => {
      if (kind === 'udp') this.datagrams.add(formatAddress(to))
      return { conditions: { ...perfectWire, delay: 5000 }, cut: kind === 'udp' || this.silent }
    }
    this.a = this.world.player('a', 1, '11.0.0.1', {}, true)
    this.b = this.world.player('b', 2, '11.0.0.2', {}, listening)
    this.a.know(this.b)
    this.b.know(this.a)
  }

  dial(meeting: boolean): void {
    this.a.node.act((endpoint, now) => endpoint.connect(now, this.b.id, { addresses: [], now: true, meeting }))
  }

  dialed(): number {
    return this.a.counter('links_dialed')
  }
}

describe('a dial by TCP', () => {
  it('that is refused goes again soon in a meeting, a few times in each attempt', () => {
    const pair = new Blocked()
    pair.dial(true)
    pair.world.run(0.9)
    expect(pair.dialed()).toBe(0)
    pair.world.run(4)
    // One after a second without UDP, then one after each pause of 250 to 550 ms.
    expect(pair.dialed()).toBeGreaterThanOrEqual(8)
    expect(pair.dialed()).toBeLessThanOrEqual(13)
    pair.world.run(35)
    const before = pair.dialed()
    pair.world.run(10)
    expect(pair.dialed() - before).toBeGreaterThanOrEqual(4)
    expect(pair.dialed() - before).toBeLessThanOrEqual(12)
  })

  it('that is refused does not otherwise, nor one that meets silence', () => {
    const pair = new Blocked()
    pair.dial(false)
    pair.world.run(4.9)
    expect(pair.dialed()).toBe(1)
    const quiet = new Blocked()
    quiet.silent = true
    quiet.dial(true)
    quiet.world.run(4.9)
    expect(quiet.dialed()).toBe(1)
  })

  it('goes again as soon as the peer is known to dial too', () => {
    const pair = new Blocked()
    pair.dial(false)
    pair.world.run(2)
    expect(pair.dialed()).toBe(1)
    pair.dial(true)
    pair.world.run(1.1)
    expect(pair.dialed()).toBeGreaterThan(1)
  })

  it('does not wait for UDP where servers answer by TCP alone', () => {
    const pair = new Blocked(true)
    pair.a.node.act((endpoint) => { endpoint.stun.blocked = true })
    pair.dial(false)
    expect(pair.world.until(() => pair.a.stateOf(pair.b) === 'connected', 5)).toBeLessThan(0.1)
    expect(pair.datagrams).toContain('11.0.0.2:7000')
  })

  it('goes where the peer says that it listens by TCP, and no datagram does', () => {
    const pair = new Blocked(true)
    pair.b.node.act((endpoint, now) => endpoint.setLocalCandidates(now, [ownCandidate('tcp-mapped', encodeAddress('203.0.113.2', 4000)!), ownCandidate('reflexive', encodeAddress('203.0.113.3', 4001)!)]))
    pair.dial(false)
    expect(pair.world.until(() => pair.a.stateOf(pair.b) === 'connected', 5)).toBeLessThan(5)
    pair.world.run(2)
    expect(pair.a.counter('candidates_refused')).toBe(0)
    const channel = pair.a.open(pair.b)
    pair.world.run(1)
    pair.silent = true
    pair.a.send(channel, 'x')
    pair.world.run(60)
    const why = pair.a.node.endpoint.peerWhy(pair.a.node.now(), pair.a.handleOf(pair.b))!
    const tried = (kind: string): string[] => why.attempts.filter(({ transport }) => transport === kind).map(({ address }) => formatAddress(address))
    expect(tried('tcp')).toContain('203.0.113.2:4000')
    expect(pair.datagrams).toContain('203.0.113.3:4001')
    expect(pair.datagrams).not.toContain('203.0.113.2:4000')
  })
})
