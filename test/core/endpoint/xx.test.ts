/** Noise XX over Bluetooth (WIRE.md §3, suite 2), presence keys and hints, and pairing by a short code, between whole nodes in virtual time. */
import { describe, expect, it } from 'vitest'
import { toWallTime } from '../../../src/core/base/time.ts'
import { ownCandidate } from '../../../src/core/path/candidates.ts'
import { accept, all, approach, codes, dial, friends, isConnected, open, Scene } from '../../support/ble-scene.ts'
import type { Player } from '../../support/sim-world.ts'

describe('friends in range', () => {
  it('know one another by their hints, which nobody else does, and meet by Bluetooth alone', () => {
    for (let seed = 1; seed <= 10; seed++) {
      const { s, a, b } = friends(seed)
      s.listen(a, b)
      dial(a, b)
      expect(s.until(() => isConnected(a, b)), `seed ${seed}`).toBeLessThan(2)
      expect([a.kindTo(b), b.kindTo(a)]).toEqual(['ble', 'ble'])
      const sent = [a.send(a.open(b), 'x'), b.send(b.open(a), 'y')]
      expect(s.until(() => a.received.includes('y') && b.received.includes('x'))).toBeLessThan(1)
      expect(sent).toEqual(['queued', 'queued'])
      expect(a.node.radio!.links().map(({ id }) => a.node.endpoint.linkUse(id))).toEqual(['active'])
      expect(all(a, 'link-peer').map(({ peer }) => peer)).toEqual([a.handleOf(b)])
    }
  })

  it('send A, B and C of their sizes, no A twice', () => {
    const seen: Uint8Array[][] = []
    for (const seed of [1, 2]) {
      const { s, a, b } = friends(seed)
      const frames: Uint8Array[] = []
      s.air.tap = (_from, _to, datagram) => { frames.push(datagram.slice()) }
      s.listen(a, b)
      dial(a, b)
      s.until(() => isConnected(a, b))
      expect(frames.slice(0, 3).map(({ length }) => length)).toEqual([340, 324, 292])
      seen.push(frames)
    }
    expect(Buffer.compare(seen[0]![0]!.subarray(20), seen[1]![0]!.subarray(20))).not.toBe(0)
  })

  it('who both dial make one session, of one name, and keep one link', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { s, a, b } = friends(seed)
      const { random, scheduler } = s.world
      s.listen(a, b)
      s.listen(b, a)
      scheduler.at(scheduler.now, () => { dial(a, b) })
      scheduler.at(scheduler.now + random.unit() * 300_000, () => { dial(b, a) })
      expect(s.until(() => isConnected(a, b)), `seed ${seed}`).toBeLessThan(3)
      s.world.run(1)
      expect(isConnected(a, b), `seed ${seed}`).toBe(true)
      a.send(a.open(b), 'x')
      b.send(b.open(a), 'y')
      expect(s.until(() => a.received.includes('y') && b.received.includes('x')), `seed ${seed}`).toBeLessThan(1)
      expect([a.counter('sessions_restarted'), b.counter('sessions_restarted')], `seed ${seed}`).toEqual([0, 0])
      s.world.run(15)
      expect([a.node.radio!.size, b.node.radio!.size], `seed ${seed}`).toEqual([1, 1])
    }
  })

  it('move to UDP when they share a network again, and nobody notices', () => {
    const { s, a, b } = friends(5)
    s.listen(a, b)
    dial(a, b)
    s.until(() => isConnected(a, b))
    const channel = a.open(b)
    for (const player of [a, b]) player.node.act((endpoint, now) => { endpoint.setLocalCandidates(now, [ownCandidate('host', player.address)]) })
    s.world.run(3)
    s.cut = false
    let sent = 0
    expect(s.until(() => {
      if (s.world.scheduler.now % 5 < 1 && sent < 500) a.send(channel, `m ${sent++}`)
      return a.kindTo(b) === 'udp' && b.kindTo(a) === 'udp'
    }, 40)).toBeLessThan(10)
    s.cut = true
    expect(s.until(() => {
      if (s.world.scheduler.now % 5 < 1 && sent < 800) a.send(channel, `m ${sent++}`)
      return a.kindTo(b) === 'ble' && b.kindTo(a) === 'ble'
    }, 40)).toBeLessThan(3)
    s.world.run(5)
    expect(sent).toBeGreaterThan(3)
    expect(b.received).toEqual(Array.from({ length: sent }, (_, i) => `m ${i}`))
    expect(all(a, 'channel-closed')).toEqual([])
  })

  it('get no session from who took them out of the roster while their answer was on its way', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { s, a, b } = friends(1)
      s.listen(a, b)
      dial(a, b)
      // Somewhere between the first message and the last.
      s.world.run(0.005 * seed)
      const connected = (): number => all(a, 'peer').filter(({ state }) => state === 'connected').length
      const before = connected()
      a.node.act((endpoint, at) => endpoint.removePeer(at, b.id))
      s.world.run(20)
      expect([seed, connected(), isConnected(a, b)]).toEqual([seed, before, false])
    }
  })

  it('find each other after one forgot the session, which is then another one', () => {
    const { s, a, b } = friends(6)
    s.listen(a, b)
    dial(a, b)
    s.until(() => isConnected(a, b))
    const binding = a.bindingOf(b)
    b.restart()
    // a still believes in its session, and dials when the radio finds its link gone.
    s.listen(a, b)
    s.listen(b, a)
    dial(b, a)
    expect(s.until(() => isConnected(a, b) && a.bindingOf(b) !== binding, 40)).toBeLessThan(20)
    a.send(a.open(b), 'again')
    expect(s.until(() => b.received.includes('again'))).toBeLessThan(1)
  })

  it('are not found any more by who is a friend no longer', () => {
    const { s, a, b } = friends(7)
    const now = a.node.now()
    expect(a.node.endpoint.radio.findByHint(now, b.node.endpoint.radio.hint(now))).toBe(a.handleOf(b))
    b.node.act((endpoint, at) => endpoint.removePeer(at, a.id))
    expect(a.node.endpoint.radio.findByHint(now, b.node.endpoint.radio.hint(now))).toBeUndefined()
    s.world.run(1)
    // Hints of a clock that is up to an hour off are known; others are not.
    const { s: t, a: c, b: d } = friends(8)
    for (const [hours, found] of [[0, true], [1, true], [-1, true], [2, false], [-2, false]] as const) {
      d.node.wallOffset = hours * 3_600_000
      expect([hours, c.node.endpoint.radio.findByHint(c.node.now(), d.node.endpoint.radio.hint(d.node.now())) !== undefined]).toEqual([hours, found])
    }
    t.world.run(1)
  })
})

describe('strangers', () => {
  it('get no answer but in a pairing window, and nothing of a friend whose hint they replay', () => {
    const { s, a, b } = friends(11)
    const c = s.world.player('c', 9, '10.0.0.9', { tcpAfter: Infinity }, false, s.air)
    const frames: { readonly from: Uint8Array; readonly length: number }[] = []
    s.air.tap = (from, _to, { length }) => { frames.push({ from: from.slice(), length }) }
    // c cannot make the mac of a's key.
    open(c)
    expect(approach(c, a)).toBe(true)
    s.world.run(12)
    expect(frames.filter(({ from }) => Buffer.compare(from, a.node.radio!.address) === 0)).toEqual([])
    expect(a.counter('drop_mac1')).toBeGreaterThan(0)
    expect(all(c, 'link-refused').map(({ reason }) => reason)).toEqual(['no_answer'])
    // c plays b's hint, and has b's key besides, as a friend of b has: a asks who is there and hears another name, whom it does not tell its own.
    frames.length = 0
    c.disk.set('node/presence', b.disk.get('node/presence')!)
    c.restart()
    a.node.act((endpoint, now) => { endpoint.handleNearby(now, a.handleOf(b), c.node.radio!.address) })
    dial(a, b)
    s.world.run(12)
    expect(frames.map(({ length }) => length).filter((length) => length === 292)).toEqual([])
    expect(a.stateOf(b)).not.toBe('connected')
    expect(all(a, 'link-refused').length).toBeGreaterThan(0)
    expect(all(a, 'link-refused').every(({ reason }) => reason === 'other')).toBe(true)
    a.node.act((endpoint, now) => { endpoint.disconnect(now, a.handleOf(b)) })
    s.world.run(1)
    expect(a.node.radio!.size + c.node.radio!.size).toBe(0)
  })

  it('that are nobody\'s friends are told so, and nothing is kept of them', () => {
    const s = new Scene(12)
    const [a, b] = s.players as [Player, Player]
    open(a)
    open(b)
    // b closes its window between B and C.
    let messages = 0
    s.air.tap = () => { if (++messages === 3) b.node.endpoint.radio.closePairing(b.node.now()) }
    approach(a, b)
    s.world.run(12)
    expect(all(a, 'peer').at(-1)).toMatchObject({ state: 'offline', reason: 'not_admitted' })
    expect(b.node.endpoint.peers()).toEqual([])
    expect(b.counter('drop_not_admitted')).toBe(1)
    expect([a.node.radio!.size, b.node.radio!.size]).toEqual([0, 0])
    expect([a.provider.live, b.provider.live]).toEqual([0, 0])
    expect(b.node.endpoint.tables()['xx']).toBe(0)
  })

  it('that flood are given up: four messages A, or four datagrams of nothing, and the connection is closed', () => {
    for (const what of ['initiations', 'garbage'] as const) {
      const s = new Scene(14)
      const [a, b] = s.players as [Player, Player]
      open(a)
      open(b)
      let first: Uint8Array | undefined
      s.air.tap = (_from, _to, datagram) => {
        first ??= datagram.slice()
        return undefined
      }
      approach(a, b)
      s.until(() => first !== undefined, 2)
      const link = b.node.radio!.links()[0]!.id
      for (let i = 0; i < 8; i++) {
        const datagram = what === 'garbage' ? new Uint8Array(60).fill(i) : first!.slice()
        // Another ephemeral key each time; mac and digest are no longer right, which is what a flood of forged ones looks like.
        if (what === 'initiations') datagram[30]! ^= i + 1
        b.node.radio!.arrived(link, a.node.radio!.address, datagram)
      }
      expect(s.until(() => b.node.radio!.links().every(({ id }) => id !== link), 3), what).toBeLessThan(2)
      expect(b.node.endpoint.tables()['xx']).toBeLessThanOrEqual(1)
    }
  })

  it('do not reach their own node', () => {
    const s = new Scene(13, 1)
    const [a] = s.players as [Player]
    open(a)
    expect(approach(a, a)).toBe(true)
    s.world.run(12)
    expect(a.node.endpoint.peers()).toEqual([])
    expect(all(a, 'link-refused').map(({ reason }) => reason)).toEqual(['self'])
  })

  it('that hang up at any step leave nothing behind, and whose datagrams are lost end in time', () => {
    for (let step = 1; step <= 6; step++) {
      for (const how of ['vanish', 'lose'] as const) {
        const { s, a, b } = friends(100 + step)
        s.listen(a, b)
        let count = 0
        s.air.tap = () => {
          count++
          if (how === 'lose') return count !== step
          if (count === step) s.air.reaches = () => false
          return true
        }
        dial(a, b)
        if (how === 'lose') {
          expect(s.until(() => isConnected(a, b)), `step ${step}`).toBeLessThan(8)
          a.send(a.open(b), 'x')
          expect(s.until(() => b.received.includes('x')), `step ${step}`).toBeLessThan(5)
          continue
        }
        s.world.run(30)
        expect(count).toBeGreaterThanOrEqual(step)
        expect(a.stateOf(b), `step ${step}`).not.toBe('connected')
        expect([a.node.radio!.size, b.node.radio!.size]).toEqual([0, 0])
        expect(b.node.endpoint.tables()['xx'], `step ${step}`).toBe(0)
        s.air.reaches = () => true
        s.listen(a, b)
        dial(a, b)
        expect(s.until(() => isConnected(a, b), 60), `step ${step}`).toBeLessThan(50)
      }
    }
  })
})

describe('pairing by a short code', () => {
  function meet(seed: number): { readonly s: Scene; readonly a: Player; readonly b: Player } {
    const s = new Scene(seed)
    const [a, b] = s.players as [Player, Player]
    open(a)
    open(b)
    expect(approach(a, b)).toBe(true)
    expect(s.until(() => codes(a).length > 0 && codes(b).length > 0)).toBeLessThan(2)
    return { s, a, b }
  }

  it('both see the same eight digits, and are friends when both have said yes', () => {
    const seen = new Set<string>()
    for (let seed = 1; seed <= 10; seed++) {
      const { s, a, b } = meet(seed)
      expect(codes(a)).toEqual(codes(b))
      expect(codes(a)[0]).toMatch(/^\d{8}$/)
      seen.add(codes(a)[0]!)
      expect(accept(a, b)).toBe(true)
      s.world.run(2)
      expect([all(a, 'paired').length, all(b, 'paired').length]).toEqual([0, 0])
      expect(b.disk.size).toBeLessThanOrEqual(1)
      expect(accept(b, a)).toBe(true)
      expect(s.until(() => all(a, 'paired').length === 1 && all(b, 'paired').length === 1)).toBeLessThan(1)
      a.send(a.open(b), 'friend')
      expect(s.until(() => b.received.includes('friend'))).toBeLessThan(1)
      // And know one another from now on, both of them, whoever said yes last.
      s.world.run(1)
      for (const [player, other] of [[a, b], [b, a]] as const) {
        const hint = other.node.act((endpoint, now) => endpoint.radio.hint(now))
        expect(player.node.act((endpoint, now) => endpoint.radio.findByHint(now, hint))).toBe(player.handleOf(other))
        expect(player.counter('presence_refused')).toBe(0)
      }
      for (const player of [a, b]) player.restart()
      s.listen(b, a)
      dial(b, a)
      expect(s.until(() => isConnected(a, b))).toBeLessThan(2)
    }
    expect(seen.size).toBe(10)
  })

  it('a stranger that compares can do nothing else', () => {
    const { s, a, b } = meet(20)
    expect(() => a.open(b)).toThrow('unreachable')
    // A node that does not keep to it: what it opens is refused, and where it says that it is nobody asks.
    const session = a.node.endpoint.node.sessions.find((one) => one !== undefined)!
    session.state.restricted = false
    a.node.act((endpoint, now) => { endpoint.setLocalCandidates(now, [ownCandidate('host', a.address)]) })
    a.send(a.open(b), 'let me in')
    s.world.run(1)
    expect(all(b, 'channel-incoming')).toEqual([])
    expect(b.received).toEqual([])
    expect(all(a, 'channel-closed')).toMatchObject([{ code: 2, by: 'peer' }])
    expect([b.counter('channels_refused'), b.counter('candidates_received'), b.counter('presence_received')]).toEqual([1, 0, 0])
    expect(a.node.endpoint.peerStats(a.handleOf(b))!.inRoster).toBe(false)
    s.world.run(1)
  })

  it('a stranger who comes again with another session does not get past the comparing', () => {
    for (const way of ['udp', 'ble'] as const) {
      const { s, a, b } = meet(24)
      const before = codes(b)
      a.restart()
      if (way === 'udp') {
        // By its id, which it has learnt: neither the window nor the roster lets it in.
        a.know(b)
        a.connect(b)
      } else {
        open(a)
        approach(a, b)
      }
      s.world.run(4)
      const session = b.node.endpoint.node.sessions.find((one) => one?.state.phase === 'open')
      expect(session?.state.restricted ?? true, way).toBe(true)
      expect(a.stateOf(b) === 'connected', way).toBe(way === 'ble')
      // It is another exchange; the one before ended with it, or with the link on which it was.
      expect(codes(b).length, way).toBe(way === 'ble' ? 2 : 1)
      expect(b.counter('pairings_failed'), way).toBe(1)
      if (way === 'ble') expect([codes(b)[1] === before[0], codes(a).at(-1) === codes(b)[1]]).toEqual([false, true])
      expect(all(b, 'channel-incoming')).toEqual([])
      b.node.act((endpoint, now) => { endpoint.radio.closePairing(now) })
      s.world.run(3)
      expect(b.node.endpoint.peers(), way).toEqual([])
    }
  })

  it('who comes by an invite while a window is open is a friend at once, and compares nothing', () => {
    const s = new Scene(26)
    const [a, b] = s.players as [Player, Player]
    const token = new Uint8Array(16).fill(0x70)
    const expires = toWallTime(a.node.now().wall + 3_600_000)
    b.node.act((endpoint, now) => endpoint.addInvite(now, { token, expires, name: 'a', spentBy: [], uses: 1 }))
    a.node.act((endpoint, now) => endpoint.addPeer(now, b.id, { name: 'b', addresses: [], invite: { token, expires } }))
    open(a)
    open(b)
    approach(a, b)
    expect(s.until(() => isConnected(a, b))).toBeLessThan(2)
    a.send(a.open(b), 'by invite')
    expect(s.until(() => b.received.includes('by invite'))).toBeLessThan(1)
    s.world.run(130)
    expect([isConnected(a, b), codes(a), codes(b), b.counter('pairings_begun'), all(b, 'peer-joined').length]).toEqual([true, [], [], 0, 1])
  })

  it('ends when one says no, when nobody says anything, and when the window closes', () => {
    for (const end of ['reject', 'silence', 'close'] as const) {
      const { s, a, b } = meet(21)
      accept(b, a)
      if (end === 'reject') a.node.act((endpoint, now) => endpoint.radio.rejectPairing(now, a.handleOf(b)))
      if (end === 'close') a.node.act((endpoint, now) => { endpoint.radio.closePairing(now) })
      expect(s.until(() => all(a, 'pairing-ended').length === 1 && all(b, 'pairing-ended').length === 1, 200), end).toBeLessThan(end === 'silence' ? 125 : 1)
      expect([a.node.endpoint.peers(), b.node.endpoint.peers()]).toEqual([[], []])
      s.world.run(2)
      expect([a.node.radio!.size, b.node.radio!.size]).toEqual([0, 0])
    }
  })
})
