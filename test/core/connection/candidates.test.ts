/** CANDIDATES between two nodes: what a peer is told, and what it has sent where because of it. */
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { ownCandidate } from '../../../src/core/path/candidates.ts'
import type { Candidate } from '../../../src/core/wire/candidates-frame.ts'
import { perfectWire, type Route } from '../../../src/sim/network.ts'
import { SimWorld, type Player } from '../../support/sim-world.ts'

const host = (text: string, port = 7000): Candidate => ownCandidate('host', encodeAddress(text, port)!)

class Pair {
  readonly world: SimWorld = new SimWorld(3)
  readonly a: Player
  readonly b: Player
  udp: 'open' | 'cut' = 'open'
  /** UDP datagrams by where they went. */
  readonly sent = new Map<string, number[]>()

  constructor() {
    this.world.network.route = (_from, to, kind): Route => {
      if (kind === 'udp') this.#note(formatAddress(to))
      return { conditions: { ...perfectWire, delay: 5000 }, cut: kind === 'udp' && this.udp === 'cut' }
    }
    this.a = this.world.player('a', 1, '11.0.0.1', {}, true)
    this.b = this.world.player('b', 2, '11.0.0.2', {}, true)
    this.a.know(this.b)
    this.b.know(this.a)
  }

  /** The network asks more than once for the way of one datagram; one node sends no two to an address at the same moment here. */
  #note(to: string): void {
    const times = this.sent.get(to) ?? []
    const now = this.world.scheduler.now / 1e6
    if (times.at(-1) !== now) this.sent.set(to, [...times, now])
  }

  connect(): void {
    this.a.connect(this.b)
    expect(this.world.until(() => this.a.stateOf(this.b) === 'connected' && this.b.stateOf(this.a) === 'connected', 5)).toBeLessThan(5)
    this.world.run(2)
  }

  tell(who: Player, ...candidates: readonly Candidate[]): void {
    who.node.act((endpoint, now) => endpoint.setLocalCandidates(now, candidates))
    this.world.run(1)
  }

  asked(who: Player): string[] {
    const other = who === this.a ? this.b : this.a
    return who.node.endpoint.peerWhy(who.node.now(), who.handleOf(other))!.asked.map(({ address }) => formatAddress(address))
  }
}

describe('candidates of a peer', () => {
  it('are told with the session and with each change, once, and also after a loss', () => {
    const pair = new Pair()
    pair.tell(pair.a, host('8.8.8.8'))
    pair.connect()
    expect(pair.b.counter('candidates_received')).toBe(1)
    pair.tell(pair.a, host('8.8.8.8'))
    expect(pair.b.counter('candidates_received')).toBe(1)
    pair.udp = 'cut'
    pair.tell(pair.a, host('8.8.8.8'), host('9.9.9.9'))
    pair.udp = 'open'
    pair.world.run(3)
    expect(pair.b.counter('candidates_received')).toBe(3)
    // A node that nobody told where it is tells nobody.
    expect(pair.a.counter('candidates_received')).toBe(0)
  })

  it('cause not one datagram while UDP carries the traffic', () => {
    const pair = new Pair()
    pair.connect()
    pair.tell(pair.a, ...Array.from({ length: 16 }, (_, i) => host(`198.51.100.${i + 1}`)))
    pair.world.run(60)
    expect([...pair.sent.keys()].filter((to) => to.startsWith('198.51.100.'))).toEqual([])
  })

  it('are asked while a connection carries it, and the session moves there', () => {
    const pair = new Pair()
    pair.udp = 'cut'
    pair.connect()
    expect(pair.b.node.endpoint.peerStats(pair.b.handleOf(pair.a))!.paths.find(({ active }) => active)?.kind).toBe('tcp')
    pair.tell(pair.a, host('11.0.0.1'))
    expect(pair.asked(pair.b)).toContain('11.0.0.1:7000')
    pair.udp = 'open'
    expect(pair.world.until(() => pair.b.node.endpoint.peerStats(pair.b.handleOf(pair.a))!.paths.find(({ active }) => active)?.kind === 'udp', 40)).toBeLessThan(40)
  })

  it('that name victims have few datagrams sent there, and none to hosts of no one', () => {
    const pair = new Pair()
    pair.udp = 'cut'
    pair.connect()
    pair.tell(pair.a, host('127.0.0.1'), host('224.0.0.1'), host('10.9.8.7'), host('198.51.100.99', 53), ...Array.from({ length: 28 }, (_, i) => host(`198.51.100.${i + 1}`)))
    const began = pair.world.scheduler.now / 1e6
    pair.world.run(25)
    expect([pair.b.counter('candidates_received'), pair.b.counter('candidates_refused')]).toEqual([32, 16])
    for (const to of ['127.0.0.1:7000', '224.0.0.1:7000', '10.9.8.7:7000', '198.51.100.99:53']) expect(pair.sent.get(to), to).toBeUndefined()
    const victims = [...pair.sent].filter(([to]) => to.startsWith('198.51.100.'))
    expect(victims.length).toBeGreaterThan(0)
    for (const [to, times] of victims) expect(times.filter((at) => at < began + 20).length, to).toBeLessThanOrEqual(5)
    const all = victims.flatMap(([, times]) => times).sort((x, y) => x - y)
    for (const at of all) expect(all.filter((other) => other >= at && other < at + 1).length).toBeLessThanOrEqual(20)
  })
})
