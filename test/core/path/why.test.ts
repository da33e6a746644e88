/** Worlds of two nodes in which ways die and come back, and what each side can say of it afterwards. */
import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../../src/core/base/address.ts'
import { anyPath, type PathPolicy } from '../../../src/core/path/path-policy.ts'
import type { PeerWhyResult } from '../../../src/core/wire/ipc/ipc-why.ts'
import { whyDocument } from '../../../src/daemon/why/why.ts'
import { perfectWire, type Route } from '../../../src/sim/network.ts'
import { nothingOutside } from '../../support/outside.ts'
import { SimWorld, type Player } from '../../support/sim-world.ts'

/** What the network does to each kind of traffic. */
class Ways {
  readonly world: SimWorld = new SimWorld(7)
  readonly a: Player
  readonly b: Player
  udp: 'open' | 'cut' | 'refused' = 'open'
  tcp: 'open' | 'cut' = 'open'

  constructor({ listening = true } = {}) {
    const { world } = this
    world.network.route = (_from, _to, kind): Route => ({ conditions: { ...perfectWire, delay: 5000 }, cut: this[kind] === 'cut', refused: kind === 'udp' && this.udp === 'refused' })
    this.a = world.player('a', 1, '10.0.0.1', {}, true)
    this.b = world.player('b', 2, '10.0.0.2', {}, listening)
    this.a.know(this.b)
    this.b.know(this.a)
  }

  connect(): void {
    this.a.connect(this.b)
    expect(this.world.until(() => this.a.stateOf(this.b) === 'connected' && this.b.stateOf(this.a) === 'connected', 5)).toBeLessThan(5)
    this.world.run(2)
  }

  why(who: Player = this.a): PeerWhyResult {
    const other = who === this.a ? this.b : this.a
    const now = who.node.now()
    return whyDocument(who.node.endpoint.peerWhy(now, who.handleOf(other))!, nothingOutside, now.wall)
  }

  kind(who: Player = this.a): string | undefined {
    return this.why(who).path?.kind
  }

  policy(wish: Partial<PathPolicy> | undefined): string {
    return this.a.node.act((endpoint, now) => endpoint.setPeerPolicy(now, this.b.id, wish === undefined ? undefined : { ...anyPath, ...wish }))
  }

  /** Messages go every 100 ms while this many seconds pass. */
  talk(seconds: number, channel = this.a.open(this.b)): ReturnType<Player['open']> {
    for (let i = 0; i < seconds * 10; i++) {
      this.a.send(channel, 'x')
      this.world.run(0.1)
    }
    return channel
  }

  /** The moves, as rules. */
  moves(who: Player = this.a): (string | undefined)[] {
    return this.why(who).history.flatMap(({ what, reason }) => (what === 'move' ? [reason] : []))
  }
}

describe('why', () => {
  it('of a session over UDP: the handshake, what was tried, and nothing to do', () => {
    const ways = new Ways()
    ways.connect()
    const why = ways.why()
    expect(why).toMatchObject({ state: 'connected', path: { kind: 'udp', address: '10.0.0.2:7000', rule: 'first' }, policy: { never: [], from: 'default' }, advice: [] })
    expect(why.attempts).toMatchObject([{ kind: 'udp', address: '10.0.0.2:7000', result: 'answered', cause: 'dial', count: 1 }])
    expect(why.paths).toMatchObject([{ kind: 'udp', active: true, state: 'proven', mtu: 16_349, loss: 0 }])
    expect(why.paths[0]!.rttMs).toBeGreaterThan(9)
    // Who was dialed tried nothing.
    expect(ways.why(ways.b).attempts).toEqual([])
  })

  it('of UDP that dies: the silence, the dial, the move; and of the way back', () => {
    const ways = new Ways()
    ways.connect()
    const channel = ways.talk(1)
    ways.udp = 'cut'
    ways.talk(8, channel)
    const dead = ways.why()
    expect(dead).toMatchObject({ state: 'connected', path: { kind: 'tcp', rule: 'black_hole' } })
    const words = dead.history.filter(({ what }) => what !== 'mtu').map(({ what, reason }) => (reason === undefined ? what : `${what} ${reason}`))
    expect(words.slice(0, 4)).toEqual(['move first', 'doubt', 'dial doubt', 'move black_hole'])
    expect(dead.history.find(({ what, reason }) => what === 'move' && reason === 'black_hole')).toMatchObject({ from: { kind: 'udp', address: '10.0.0.2:7000' }, to: { kind: 'tcp' } })
    expect(dead.probes.some(({ address, unanswered }) => address === '10.0.0.2:7000' && unanswered > 0)).toBe(true)
    expect(dead.advice[0]!.text).toContain('UDP to the peer does not get through')
    ways.udp = 'open'
    ways.talk(5, channel)
    expect(ways.why()).toMatchObject({ path: { kind: 'udp', rule: 'tier' }, advice: [] })
    expect(ways.moves()).toEqual(['first', 'black_hole', 'tier'])
  })

  it('of UDP that the system refuses', () => {
    const ways = new Ways()
    ways.connect()
    const channel = ways.talk(1)
    ways.udp = 'refused'
    ways.talk(2, channel)
    const why = ways.why()
    expect(why.path).toMatchObject({ kind: 'tcp', rule: 'refused' })
    expect(why.history.map(({ what }) => what)).toContain('refused')
    expect(why.probes).toContainEqual(expect.objectContaining({ address: '10.0.0.2:7000', refused: 'unreachable' }))
    expect(why.advice[0]!.text).toContain('This machine does not let UDP go to 10.0.0.2:7000')
  })

  it('of a peer that is off: every address with its answer, the dial, and what would help', () => {
    const ways = new Ways()
    ways.b.stop()
    ways.udp = 'cut'
    ways.a.connect(ways.b)
    ways.world.run(20)
    const why = ways.why()
    expect(why).toMatchObject({ state: 'dialing', dial: { loud: true } })
    expect(why.attempts).toMatchObject([{ kind: 'udp', result: 'no_answer' }, { kind: 'tcp', result: 'refused', cause: 'unanswered' }])
    expect(why.attempts[0]!.count).toBeGreaterThan(4)
    expect(why.advice[0]!.text).toContain('no Postern daemon listens there')
    ways.tcp = 'cut'
    ways.world.run(100)
    const given = ways.why()
    expect(given).toMatchObject({ state: 'unreachable', reason: 'timeout', dial: { loud: false } })
    expect(given.attempts.map(({ kind, result }) => `${kind} ${result}`)).toEqual(['udp no_answer', 'tcp no_answer'])
    expect(given.advice[0]).toMatchObject({ command: 'postern join <link>' })
  })

  it('of UDP that the system refuses to a peer that nobody has reached yet', () => {
    const ways = new Ways({ listening: false })
    ways.udp = 'refused'
    ways.a.connect(ways.b)
    ways.world.run(10)
    expect(ways.why().attempts.map(({ kind, result }) => `${kind} ${result}`)).toEqual(['udp unreachable', 'tcp refused'])
    expect(ways.why().advice[0]!.text).toContain('This machine has no way to 10.0.0.2:7000')
  })

  it('of a policy that moves a session, and of one that leaves it nothing', () => {
    const ways = new Ways()
    ways.connect()
    const channel = ways.talk(1)
    expect(ways.policy({ only: 'tcp' })).toBe('set')
    ways.talk(2, channel)
    expect([ways.kind(), ways.kind(ways.b)]).toEqual(['tcp', 'tcp'])
    expect(ways.why()).toMatchObject({ path: { rule: 'policy' }, policy: { only: 'tcp', from: 'peer' }, advice: [{ command: `postern peers policy b --default` }] })
    // TCP dies, and UDP, which works, is not used.
    ways.tcp = 'cut'
    ways.talk(15, channel)
    expect(ways.why()).toMatchObject({ state: 'unreachable', policy: { only: 'tcp' } })
    expect(ways.why().attempts.map(({ kind, result }) => `${kind} ${result}`)).toContain('tcp no_answer')
    expect(ways.why().advice[0]).toMatchObject({ text: 'The policy forbids some of the ways to this peer.', command: 'postern peers policy b --default' })
    expect(ways.policy(undefined)).toBe('set')
    expect(ways.world.until(() => ways.kind() === 'udp', 10)).toBeLessThan(10)
    ways.world.run(3)
    // Everything sent meanwhile arrived once, in order.
    expect(ways.b.received).toHaveLength(180)
  })

  it('of a policy that finds nothing else: the path is left after 3 s, and the peer is told unreachable for that reason', () => {
    const ways = new Ways()
    ways.connect()
    ways.tcp = 'cut'
    ways.policy({ never: ['udp'] })
    ways.world.run(2.5)
    expect(ways.kind()).toBe('udp')
    ways.world.run(1)
    expect(ways.why()).toMatchObject({ state: 'unreachable', reason: 'policy' })
    expect(ways.a.events).toContainEqual(expect.objectContaining({ kind: 'peer', state: 'unreachable', reason: 'policy' }))
    expect(ways.why().history.at(-2)).toMatchObject({ what: 'move', reason: 'policy' })
    // UDP is not even dialed, though the peer dials by it.
    ways.world.run(10)
    expect(ways.kind()).toBe(undefined)
    ways.tcp = 'open'
    expect(ways.world.until(() => ways.kind() === 'tcp', 70)).toBeLessThan(70)
  })

  it('of a policy that holds when the peer dials: what comes by UDP makes no path', () => {
    const ways = new Ways()
    ways.policy({ only: 'tcp' })
    ways.b.connect(ways.a)
    expect(ways.world.until(() => ways.kind() === 'tcp' && ways.kind(ways.b) === 'tcp', 15)).toBeLessThan(15)
    expect(ways.why().paths.every(({ kind }) => kind === 'tcp')).toBe(true)
  })

  it('refuses a policy that leaves this node nothing', () => {
    const world = new SimWorld(3)
    const [a, b] = [world.player('a', 1, '10.0.0.1', { tcpAfter: Infinity }), world.player('b', 2, '10.0.0.2')]
    a.know(b)
    const set = (wish: Partial<PathPolicy>): string => a.node.act((endpoint, now) => endpoint.setPeerPolicy(now, b.id, { ...anyPath, ...wish }))
    expect([set({ only: 'tcp' }), set({ never: ['udp'] }), set({ prefer: 'tcp' }), set({ only: 'udp' })]).toEqual(['nothing-left', 'nothing-left', 'set', 'set'])
    expect(b.node.act((endpoint, now) => endpoint.setPeerPolicy(now, a.id, anyPath))).toBe('unknown')
  })

  it('keeps the policy of a peer on disk', () => {
    const ways = new Ways()
    ways.policy({ only: 'tcp', never: ['udp'] })
    ways.a.restart()
    expect(ways.why().policy).toEqual({ only: 'tcp', never: ['udp'], from: 'peer' })
    ways.policy(undefined)
    ways.a.restart()
    expect(ways.why().policy).toEqual({ never: [], from: 'default' })
  })

  it('stays within its bounds, and keeps the moves, whatever is tried', () => {
    const ways = new Ways()
    ways.connect()
    const channel = ways.talk(1)
    ways.udp = 'cut'
    ways.talk(4, channel)
    ways.tcp = 'cut'
    // More addresses than are remembered, for hours.
    const addresses = Array.from({ length: 40 }, (_, i) => Uint8Array.from({ length: 18 }, (_, j) => (j === 10 || j === 11 ? 255 : j === 12 ? 10 : j === 15 ? i + 10 : j === 16 ? 27 : j === 17 ? 88 : 0)))
    for (const address of addresses) {
      ways.a.node.act((endpoint, now) => endpoint.connect(now, ways.b.id, { addresses: [address], now: true }))
      ways.world.run(60)
    }
    const why = ways.why()
    expect(why.history.length).toBeLessThanOrEqual(why.bounds.history)
    expect(why.attempts.length).toBe(why.bounds.attempts)
    expect(why.attempts.some(({ address }) => address === formatAddress(addresses.at(-1)!))).toBe(true)
    expect(ways.moves()).toContain('first')
    expect(JSON.stringify(why).length).toBeLessThan(64 << 10)
  })
})
