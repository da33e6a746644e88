/** Keys over hours of virtual time (WIRE.md §3.9, §3.11): when they are replaced, when they are wiped, and that nobody notices. */
import { describe, expect, it } from 'vitest'
import { perfectWire } from '../../../../src/sim/network.ts'
import type { ChannelHandle } from '../../../../src/core/endpoint/contract.ts'
import type { WatchedProvider} from '../../../support/sim-world.ts';
import { SimWorld, SECOND, type Player } from '../../../support/sim-world.ts'

interface Pair { readonly world: SimWorld; readonly a: Player; readonly b: Player; readonly lives: (player: Player) => number[] }

/** Notes how long each transport key lived. */
function watchLives(world: SimWorld, player: Player): number[] {
  const born = new Map<number, number>()
  const lives: number[] = []
  const provider: WatchedProvider = player.provider
  const add = provider.addKey.bind(provider)
  const remove = provider.removeKey.bind(provider)
  provider.addKey = (key) => {
    const slot = add(key)
    born.set(slot, world.scheduler.now)
    return slot
  }
  provider.removeKey = (slot) => {
    lives.push((world.scheduler.now - born.get(slot)!) / SECOND)
    remove(slot)
  }
  return lives
}

function connected(seed: number, config = {}, configA = {}): Pair {
  const world = new SimWorld(seed)
  const a = world.player('a', 1, '192.0.2.1', { ...config, ...configA })
  const b = world.player('b', 2, '192.0.2.2', config)
  a.know(b)
  b.know(a)
  const lives = new Map([[a, watchLives(world, a)], [b, watchLives(world, b)]])
  a.connect(b)
  expect(world.until(() => a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected', 5)).toBeLessThan(5)
  return { world, a, b, lives: (player) => lives.get(player)! }
}

/** Says `name n` every `interval` seconds. */
function chat(world: SimWorld, player: Player, channel: ChannelHandle, interval: number, count: number): void {
  for (let n = 0; n < count; n++) {
    world.scheduler.at(world.scheduler.now + n * interval * SECOND, () => {
      if (player.send(channel, `${player.name} ${n}`) !== 'queued') throw new Error('the channel is not ready')
    })
  }
}

const expected = (name: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${name} ${n}`)

describe('app data', () => {
  it('goes through 58 rekeys under loss, reordering and duplication without losing, doubling or reordering a message', () => {
    for (const [seed, loss] of [[1, 0], [2, 0.1], [3, 0.25]] as const) {
      const { world, a, b, lives } = connected(seed)
      world.network.setConditions({ ...perfectWire, delay: 40_000, jitter: 30_000, loss, duplicate: 0.1, reorder: 0.05, reorderDelay: 2 * SECOND })
      const binding = a.bindingOf(b)
      const channels = [a.open(b), b.open(a)] as const
      chat(world, a, channels[0], 3, 2400)
      chat(world, b, channels[1], 7, 1000)
      world.run(7200)
      world.network.setConditions(perfectWire)
      world.run(100)
      expect(b.received).toEqual(expected('a', 2400))
      expect(a.received).toEqual(expected('b', 1000))
      expect([a.bindingOf(b), b.bindingOf(a)]).toEqual([binding, binding])
      for (const player of [a, b]) {
        expect(player.counter('sessions_restarted')).toBe(0)
        expect(player.counter('handshakes_completed')).toBeGreaterThanOrEqual(50)
        // 120 s, up to 5 s until the new ones, 10 s as previous; under loss the attempts take longer, never beyond 180 s.
        expect(Math.max(...lives(player))).toBeLessThan(loss === 0 ? 141 : 181)
        expect(player.provider.live).toBeLessThanOrEqual(4)
      }
      expect(a.counter('handshakes_completed')).toBeLessThan(loss === 0 ? 62 : 90)
    }
  })

  it('keys of a silent peer are wiped at 180 s, the session waits, and goes on where it was', () => {
    const { world, a, b, lives } = connected(4)
    const channel = a.open(b)
    a.send(channel, 'a 0')
    world.run(1)
    const wires = [world.network.wire(a.address, b.address), world.network.wire(b.address, a.address)]
    for (const wire of wires) wire.cut = true
    a.send(channel, 'a 1')
    const binding = a.bindingOf(b)
    world.run(178)
    expect([a.provider.live, b.provider.live, a.stateOf(b)]).toEqual([2, 2, 'unreachable'])
    world.run(3)
    expect([a.provider.live, b.provider.live, b.stateOf(a)]).toEqual([0, 0, 'unreachable'])
    expect(Math.max(...lives(a), ...lives(b))).toBeLessThan(181)
    expect(a.send(channel, 'a 2')).toBe('queued')
    world.run(60)
    for (const wire of wires) wire.cut = false
    // Both dial quietly by now; demand wakes them.
    a.connect(b)
    expect(world.until(() => b.received.length === 3, 10)).toBeLessThan(2)
    expect([b.received, a.bindingOf(b), b.bindingOf(a)]).toEqual([expected('a', 3), binding, binding])
  })

  it('an unreachable session ends after its keep of 600 s', () => {
    const { world, a, b } = connected(5)
    a.send(a.open(b), 'a 0')
    world.run(1)
    world.network.wire(a.address, b.address).cut = true
    world.network.wire(b.address, a.address).cut = true
    world.run(595)
    expect(b.stateOf(a)).not.toBe('offline')
    world.run(300)
    expect([a.stateOf(b), b.stateOf(a), a.provider.live, b.provider.live]).toEqual(['offline', 'offline', 0, 0])
    expect(a.events.at(-1)).toMatchObject({ kind: 'peer', state: 'offline', reason: 'idle' })
  })

  it('a peer that vanished without keep-alives is noticed when the keys are to be replaced, and the keep counts from there', () => {
    const { world, a, b } = connected(11, { keepAlive: 0 })
    a.send(a.open(b), 'a 0')
    world.run(1)
    b.stop()
    world.run(118)
    expect([a.stateOf(b), a.provider.live]).toEqual(['connected', 2])
    // The rekey is not acknowledged, and an only path that is silent for 10 s is gone.
    world.run(20)
    expect([a.stateOf(b), a.provider.live]).toEqual(['unreachable', 2])
    world.run(45)
    expect([a.stateOf(b), a.provider.live, a.events.filter(({ kind }) => kind === 'peer').at(-1)]).toMatchObject(['unreachable', 0, { kind: 'peer', state: 'unreachable' }])
    world.run(605)
    expect(a.stateOf(b)).toBe('offline')
  })

  it('the first message after a long silence goes at once, and its old key lives 60 s more at most', () => {
    const { world, a, b, lives } = connected(6)
    world.run(3000)
    expect(lives(a)).toEqual([])
    const before = a.counter('handshakes_completed')
    a.send(a.open(b), 'a 0')
    expect(world.until(() => b.received.length === 1, 1)).toBeLessThan(0.1)
    expect(world.until(() => a.counter('handshakes_completed') > before, 30)).toBeLessThan(5.1)
    world.run(60)
    expect([lives(a).length, lives(b).length, a.provider.live, b.provider.live]).toEqual([2, 2, 2, 2])
    expect(Math.max(...lives(a), ...lives(b))).toBeLessThan(3062)
  })

  it('the other side rekeys 15 s later when the last initiator does not', () => {
    // The initiator would keep its keys for hours.
    const { world, a, b } = connected(7, {}, { rekeyAfter: 9999 * SECOND, rejectAfter: 9999 * SECOND })
    a.send(a.open(b), 'a 0')
    world.run(1)
    const after = world.until(() => b.counter('rekeys_begun') === 1, 160) + 1
    expect(after).toBeGreaterThan(133)
    expect(after).toBeLessThan(142)
    world.run(5)
    expect([a.counter('handshakes_completed'), b.counter('handshakes_completed'), a.counter('rekeys_begun')]).toEqual([2, 2, 0])
  })
})

describe('without app data', () => {
  it('keep-alives do not wear keys: one rekey an hour ± 10 %, wiped clean', () => {
    const { world, a, b, lives } = connected(8)
    world.run(24 * 3600)
    for (const player of [a, b]) {
      expect(player.counter('handshakes_completed')).toBeGreaterThanOrEqual(22)
      expect(player.counter('handshakes_completed')).toBeLessThanOrEqual(28)
      expect(player.provider.live).toBe(2)
      expect(Math.max(...lives(player))).toBeLessThan(1.1 * 3600 + 30)
    }
    expect([a.counter('sessions_opened'), b.counter('sessions_restarted')]).toEqual([1, 0])
  })

  it('clean keys end after 2 h, and no key lives longer than 24 h', () => {
    for (const [config, life] of [[{}, 7200], [{ cleanWipeAfter: 48 * 3600 * SECOND }, 24 * 3600]] as const) {
      const { world, a, b, lives } = connected(9, { cleanRekeyAfter: 30 * 3600 * SECOND, ...config })
      world.run(life - 60)
      expect(lives(a)).toEqual([])
      world.run(120)
      for (const player of [a, b]) expect(lives(player).map(Math.round)).toEqual([life, life])
      // The session went on by itself.
      expect([a.stateOf(b), b.stateOf(a), a.counter('sessions_closed')]).toEqual(['connected', 'connected', 0])
    }
  })

  it('disconnect wipes at once on both sides', () => {
    const { world, a, b } = connected(10)
    a.node.act((endpoint, now) => { endpoint.disconnect(now, a.handleOf(b)) })
    world.run(5)
    expect([a.provider.live, b.provider.live, a.stateOf(b), b.stateOf(a)]).toEqual([0, 0, 'offline', 'offline'])
  })
})
