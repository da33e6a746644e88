/** Bluetooth as a path of a session: beside the network, instead of it, and back, in virtual time on simulated air. */
import { describe, expect, it } from 'vitest'
import { encodeBleAddress } from '../../../src/core/base/ble-address.ts'
import { never } from '../../../src/core/base/time.ts'
import type { ChannelHandle } from '../../../src/core/endpoint/contract.ts'
import { anyPath } from '../../../src/core/path/path-policy.ts'
import { bleDatagramSize } from '../../../src/core/ble/values.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { SimAir, usualAir, type AirConditions } from '../../../src/sim/sim-ble.ts'
import { SECOND, SimWorld, type Player } from '../../support/sim-world.ts'

interface Scene { readonly world: SimWorld; readonly air: SimAir; readonly a: Player; readonly b: Player; readonly cut: (cut: boolean) => void }

/** Two friends in range of one another, on one network. */
function scene(seed: number, air: AirConditions = usualAir, tcp = false): Scene {
  const world = new SimWorld(seed)
  const simAir = new SimAir(world.scheduler, world.random.fork(), air)
  let gone = false
  world.network.route = () => ({ conditions: perfectWire, cut: gone })
  const config = tcp ? {} : { tcpAfter: never }
  const a = world.player('a', 1, '192.0.2.1', config, tcp, simAir)
  const b = world.player('b', 2, '192.0.2.2', config, tcp, simAir)
  a.know(b)
  b.know(a)
  return { world, air: simAir, a, b, cut: (cut) => { gone = cut } }
}

function connected({ world, a, b }: Scene): void {
  a.connect(b)
  expect(world.until(() => a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected', 10)).toBeLessThan(1)
}

const both = ({ a, b }: Scene, kind: string): boolean => a.kindTo(b) === kind && b.kindTo(a) === kind
const events = (player: Player, kind: string): number => player.events.filter((event) => event.kind === kind).length

/** A session whose network died, on Bluetooth. */
function onBluetooth(seed: number, air?: AirConditions, tcp?: boolean): Scene {
  const s = scene(seed, air, tcp)
  connected(s)
  s.a.hears(s.b)
  s.b.hears(s.a)
  s.cut(true)
  s.a.send(s.a.open(s.b), 'anybody there?')
  expect(s.world.until(() => both(s, 'ble'), 20)).toBeLessThan(3)
  return s
}

describe('a session on Bluetooth', () => {
  it('is reached by it within 3 s after the network dies, and returns, without anything lost or told', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const s = scene(seed)
      const { world, a, b } = s
      connected(s)
      a.hears(b)
      b.hears(a)
      const channel = a.open(b)
      const back = b.open(a)
      let sent = 0
      const talk = (): void => {
        a.send(channel, `a ${sent}`)
        b.send(back, `b ${sent}`)
        sent++
      }
      for (let i = 0; i < 50; i++) {
        talk()
        world.run(0.02)
      }
      expect(both(s, 'udp')).toBe(true)
      s.cut(true)
      const died = world.scheduler.now
      const before = b.received.length
      talk()
      expect(world.until(() => b.received.length > before && both(s, 'ble'), 10), `seed ${seed}`).toBeLessThan(3)
      while (world.scheduler.now < died + 10 * SECOND) {
        talk()
        world.run(0.05)
      }
      s.cut(false)
      expect(world.until(() => both(s, 'udp'), 10), `seed ${seed}`).toBeLessThan(5)
      talk()
      world.run(2)
      expect(b.received).toEqual(Array.from({ length: sent }, (_, i) => `a ${i}`))
      expect(a.received).toEqual(Array.from({ length: sent }, (_, i) => `b ${i}`))
      for (const player of [a, b]) {
        expect(events(player, 'channel-closed')).toBe(0)
        expect(player.events.filter((event) => event.kind === 'peer').map((event) => event.state)).toEqual(player === a ? ['dialing', 'connected'] : ['connected'])
      }
    }
  })

  it('that lost every path comes back by the first link, though only one of the two sees the other', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const s = onBluetooth(seed)
      const { world, a, b, air } = s
      // Nowhere else to go: who does not see the other does not dial at all.
      for (const [player, other] of [[a, b], [b, a]] as const) player.node.act((endpoint, now) => { endpoint.setPeerPolicy(now, other.id, { ...anyPath, only: 'ble' }) })
      air.reaches = () => false
      a.hears(b, false)
      b.hears(a, false)
      expect(world.until(() => a.stateOf(b) === 'unreachable' && b.stateOf(a) === 'unreachable', 60)).toBeLessThan(30)
      world.run(60)
      const dialed = a.counter('links_dialed')
      air.reaches = () => true
      a.hears(b)
      expect(world.until(() => both(s, 'ble'), 20), `seed ${seed}`).toBeLessThan(5)
      world.run(30)
      expect([a.counter('links_dialed') - dialed, a.stateOf(b), b.stateOf(a)]).toEqual([1, 'connected', 'connected'])
    }
  })

  it('keeps its connection beside UDP, so that the next time nobody is dialed', () => {
    const s = onBluetooth(3)
    const { world, a, b } = s
    s.cut(false)
    expect(world.until(() => both(s, 'udp'), 10)).toBeLessThan(5)
    world.run(120)
    const dialed = a.counter('links_dialed') + b.counter('links_dialed')
    expect([a.node.radio!.size, b.node.radio!.size]).toEqual([1, 1])
    const link = a.node.radio!.links()[0]!.id
    expect(a.node.endpoint.linkUse(link)).toBe('standby')
    s.cut(true)
    a.send(a.open(b), 'again')
    expect(world.until(() => both(s, 'ble'), 10)).toBeLessThan(2)
    expect(a.counter('links_dialed') + b.counter('links_dialed')).toBe(dialed)
    expect(a.node.endpoint.linkUse(link)).toBe('active')
  })

  it.each([['the lower id', true], ['the higher id', false]])('of two connections keeps the one that the lower id dialed, when %s dialed first', (_name, isLowerFirst) => {
    for (let seed = 1; seed <= 6; seed++) {
      const s = scene(seed)
      const { world, a, b } = s
      connected(s)
      a.hears(b)
      b.hears(a)
      a.send(a.open(b), 'x')
      b.send(b.open(a), 'x')
      world.run(1)
      s.cut(true)
      const [lower, higher] = Buffer.compare(a.id, b.id) < 0 ? [a, b] : [b, a]
      const [first, second] = isLowerFirst ? [lower, higher] : [higher, lower]
      first.node.act((endpoint, now) => endpoint.setPeerPolicy(now, second.id, { prefer: undefined, only: 'ble', never: [] }))
      world.run(0.02)
      expect([first.counter('links_dialed'), second.counter('links_dialed')], `seed ${seed}`).toEqual([1, 0])
      second.node.act((endpoint, now) => endpoint.setPeerPolicy(now, first.id, { prefer: undefined, only: 'ble', never: [] }))
      expect(world.until(() => both(s, 'ble'), 10), `seed ${seed}`).toBeLessThan(3)
      expect(a.counter('links_dialed') + b.counter('links_dialed'), `seed ${seed}`).toBe(2)
      world.run(10)
      expect([a.node.radio!.size, b.node.radio!.size]).toEqual([1, 1])
      expect(lower.node.radio!.links()[0]!.info.dialed, `seed ${seed}`).toBe(true)
      expect(both(s, 'ble')).toBe(true)
    }
  })

  it('goes by TCP rather than by Bluetooth, when only UDP is gone', () => {
    const s = scene(5, usualAir, true)
    const { world, a, b } = s
    connected(s)
    a.hears(b)
    b.hears(a)
    world.network.route = (_from, _to, kind) => ({ conditions: perfectWire, cut: kind === 'udp' })
    a.send(a.open(b), 'x')
    expect(world.until(() => both(s, 'tcp'), 10)).toBeLessThan(3)
    // And from Bluetooth to TCP, when that is all that comes back.
    world.network.route = () => ({ conditions: perfectWire, cut: true })
    a.send(a.open(b), 'y')
    expect(world.until(() => both(s, 'ble'), 20)).toBeLessThan(5)
    world.network.route = (_from, _to, kind) => ({ conditions: perfectWire, cut: kind === 'udp' })
    expect(world.until(() => both(s, 'tcp'), 100)).toBeLessThan(70)
  })

  it('does what the policy says: only by it, or never', () => {
    const s = scene(6)
    const { world, a, b } = s
    connected(s)
    a.hears(b)
    const set = (policy: object): string => a.node.act((endpoint, now) => endpoint.setPeerPolicy(now, b.id, { prefer: undefined, only: undefined, never: [], ...policy }))
    expect(set({ only: 'ble' })).toBe('set')
    expect(world.until(() => both(s, 'ble'), 10)).toBeLessThan(3)
    expect(set({ never: ['ble'] })).toBe('set')
    expect(world.until(() => both(s, 'udp'), 10)).toBeLessThan(5)
    world.run(5)
    expect(a.node.radio!.size).toBe(0)
    s.cut(true)
    a.send(a.open(b), 'x')
    world.run(20)
    expect(a.stateOf(b)).toBe('unreachable')
    // What leads to nobody is refused.
    expect(set({ only: 'relay' })).toBe('nothing-left')
  })

  it('is left when the peer goes out of range, and found again', () => {
    const s = onBluetooth(7)
    const { world, air, a, b } = s
    air.reaches = () => false
    expect(world.until(() => a.stateOf(b) === 'unreachable' && b.stateOf(a) === 'unreachable', 20)).toBeLessThan(11)
    a.hears(b, false)
    b.hears(a, false)
    world.run(30)
    air.reaches = () => true
    s.cut(true)
    a.hears(b)
    b.hears(a)
    world.run(3)
    expect(a.node.radio!.size).toBeGreaterThan(0)
  })

  it('takes datagrams of two segments, and longer frames alone', () => {
    expect([23, 69, 70, 247, 517, 603].map(bleDatagramSize)).toEqual([128, 128, 130, 484, 511, 597])
    for (const mtu of [23, 70, 247, 517]) {
      const s = onBluetooth(8, { ...usualAir, mtu })
      const { world, a, b } = s
      const active = a.node.endpoint.peerStats(a.handleOf(b))!.paths.find((path) => path.active)!
      expect(active.datagramSize).toBeLessThanOrEqual(bleDatagramSize(mtu))
      expect(active.datagramSize).toBeGreaterThan(bleDatagramSize(mtu) - 16)
      expect(active.congestion).toBe('reliable')
      const channel = a.node.act((endpoint, now) => endpoint.openChannel(now, a.handleOf(b), {
        app: 'a'.repeat(64), mode: 'reliable-ordered', lane: 'normal', weight: 1, overflow: 'block', meta: new Uint8Array(256).fill(7), credit: 1 << 20, consumer: 1,
      })) as ChannelHandle
      a.send(channel, 'm'.repeat(3000))
      a.send(channel, 'short')
      // A radio of the smallest MTU that takes its time.
      expect(world.until(() => b.received.includes('short'), 5)).toBeLessThan(3)
      expect(b.received).toContain('m'.repeat(3000))
      const incoming = b.events.find((event) => event.kind === 'channel-incoming' && event.app.length === 64)
      expect(incoming).toMatchObject({ meta: new Uint8Array(256).fill(7) })
    }
  })

  it('lets a critical message overtake 64 KiB of bulk within two connection intervals, and fills the link', () => {
    const s = onBluetooth(9)
    const { world, a, b } = s
    const open = (lane: 'low' | 'critical'): ChannelHandle => a.node.act((endpoint, now) => endpoint.openChannel(now, a.handleOf(b), {
      app: 'test', mode: 'reliable-ordered', lane, weight: 1, overflow: 'block', meta: new Uint8Array(0), credit: 1 << 20, consumer: 1,
    })) as ChannelHandle
    world.run(5)
    const [bulk, urgent] = [open('low'), open('critical')]
    a.send(urgent, 'first')
    world.until(() => b.received.includes('first'), 5)
    for (let i = 0; i < 64; i++) a.send(bulk, `${'b'.repeat(1020)}${i}`)
    const began = world.scheduler.now
    world.run(0.5)
    let worst = 0
    for (let i = 0; i < 20; i++) {
      world.run(0.0007 * i)
      a.send(urgent, `urgent ${i}`)
      worst = Math.max(worst, world.until(() => b.received.includes(`urgent ${i}`), 5))
    }
    expect(b.received.filter((text) => text.startsWith('b')).length).toBeLessThan(64)
    expect(worst * SECOND).toBeLessThanOrEqual(2 * usualAir.interval)
    world.until(() => b.received.filter((text) => text.startsWith('b')).length === 64, 10)
    const rate = 64 * 1024 / (world.scheduler.now - began)
    expect(rate).toBeGreaterThan(0.85 * usualAir.rate)
  })

  it('fills slow links and fast ones, whatever their MTU', () => {
    for (const [mtu, interval, rate, share] of [[517, 15_000, 0.05, 0.8], [247, 15_000, 0.05, 0.85], [185, 30_000, 0.05, 0.8], [69, 15_000, 0.02, 0.5], [517, 1000, 2, 0.5]] as const) {
      const s = onBluetooth(13, { ...usualAir, mtu, interval, rate })
      const { world, a, b } = s
      world.run(5)
      const channel = a.open(b)
      const count = Math.ceil(4_000_000 * rate / 1000)
      let sent = 0
      const from = world.scheduler.now
      while (b.received.length < count + 1 && world.scheduler.now - from < 60 * SECOND) {
        for (; sent < count && sent - b.received.length < 500; sent++) a.send(channel, 'b'.repeat(1000))
        world.run(0.01)
      }
      const took = world.scheduler.now - from
      expect([mtu, (count * 1000) / took / rate > share]).toEqual([mtu, true])
    }
  })

  it('changes its keys, also where a datagram has hardly room for them', () => {
    const s = onBluetooth(12, { ...usualAir, mtu: 23 })
    const { world, a, b } = s
    const channel = a.open(b)
    for (let i = 0; i < 50; i++) {
      a.send(channel, `m ${i}`)
      world.run(10)
    }
    expect(a.counter('rekeys_completed') + b.counter('rekeys_completed')).toBeGreaterThan(2)
    expect(b.received.filter((text) => text.startsWith('m'))).toEqual(Array.from({ length: 50 }, (_, i) => `m ${i}`))
    expect(both(s, 'ble')).toBe(true)
  })

  it('lives through a day of networks and ranges that come and go, and loses nothing', () => {
    for (let seed = 1; seed <= 25; seed++) {
      const s = scene(seed)
      const { world, air, a, b } = s
      const { random } = world
      connected(s)
      const channels = [a.open(b), b.open(a)] as const
      let sent = 0
      let inRange = true
      let cut = false
      air.reaches = () => inRange
      const apply = (): void => {
        s.cut(cut)
        // Each radio needs a while to hear that somebody is there, or is gone.
        for (const [one, other] of [[a, b], [b, a]] as const) {
          const heard = inRange
          world.scheduler.at(world.scheduler.now + random.unit() * 2 * SECOND, () => { if (heard === inRange) one.hears(other, heard) })
        }
      }
      apply()
      for (let round = 0; round < 12; round++) {
        const [noNetwork, noRange] = [random.chance(0.5), random.chance(0.3)]
        cut = noNetwork
        inRange = !noRange
        apply()
        const until = world.scheduler.now + (1 + random.unit() * 40) * SECOND
        while (world.scheduler.now < until) {
          a.send(channels[0], `a ${sent}`)
          b.send(channels[1], `b ${sent}`)
          sent++
          world.run(0.5 + random.unit())
        }
      }
      cut = false
      inRange = true
      apply()
      expect(world.until(() => b.received.length === sent && a.received.length === sent, 120), `seed ${seed}: ${a.received.length} and ${b.received.length} of ${sent}`).toBeLessThan(120)
      expect(b.received).toEqual(Array.from({ length: sent }, (_, i) => `a ${i}`))
      expect(a.received).toEqual(Array.from({ length: sent }, (_, i) => `b ${i}`))
      expect(events(a, 'channel-closed') + events(b, 'channel-closed'), `seed ${seed}`).toBe(0)
      expect(world.until(() => both(s, 'udp'), 60), `seed ${seed}`).toBeLessThan(60)
      world.run(90)
      expect([a.node.radio!.size <= 1, b.node.radio!.size <= 1], `seed ${seed}`).toEqual([true, true])
      // Two of the current keys on each side, and two of those before while they are still opened.
      expect(Math.max(a.provider.live, b.provider.live), `seed ${seed}`).toBeLessThanOrEqual(4)
    }
  })

  it('is quiet when nobody talks', () => {
    const s = onBluetooth(10)
    const { world, a, b } = s
    world.run(10)
    const sent = (): number => [a, b].reduce((sum, player) => sum + player.node.radio!.stats()['ble_sent_datagrams']!, 0)
    const before = sent()
    world.run(600)
    // Keep-alives of both sides, once a minute, and their ACKs.
    expect(sent() - before).toBeLessThan(60)
    expect(both(s, 'ble')).toBe(true)
  })

  it('has addresses to which nothing is ever sent by UDP or TCP', () => {
    const s = scene(11, usualAir, true)
    const { world, a, b } = s
    const device = encodeBleAddress('random', Uint8Array.of(1, 2, 3, 4, 5, 6))
    const tapped: Uint8Array[] = []
    world.network.tap = (_from, to) => {
      tapped.push(to.slice())
      return true
    }
    a.node.act((endpoint, now) => endpoint.connect(now, b.id, { addresses: [device], now: true }))
    world.run(5)
    expect(tapped.some((to) => to.every((byte, i) => byte === device[i]))).toBe(false)
  })
})
