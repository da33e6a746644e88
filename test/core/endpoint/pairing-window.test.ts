/** A pairing window with strangers in it who are not honest: how long one can hold up the others, how often one may try, and what is kept of it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeBleAddress } from '../../../src/core/base/ble-address.ts'
import { minute, toWallTime } from '../../../src/core/base/time.ts'
import type { LinkId } from '../../../src/core/endpoint/contract.ts'
import { OPEN_KEY } from '../../../src/core/session/macs.ts'
import { stampOf } from '../../../src/core/session/tai64n.ts'
import { accept, all, approach, codes, isConnected, open as openWindow, Scene } from '../../support/ble-scene.ts'
import { repeated } from '../../support/bytes.ts'
import { channelClose, close, open, pair } from '../../support/hand-frames.ts'
import type { HandSession } from '../../support/hand-peer.ts'
import { LoneEndpoint } from '../../support/lone-endpoint.ts'
import { node as provider } from '../../support/providers.ts'
import type { Player } from '../../support/sim-world.ts'
import { XxGuest } from '../../support/xx-guest.ts'

const SECOND = 1_000_000
const TRANSPORT = 0x62

/** What this player's radio sends in its session is lost from now on: its handshakes go on, its exchanges do not. */
function stalls(s: Scene, ...players: readonly Player[]): void {
  const mute = players.map((player) => player.node.radio!.address)
  s.air.tap = (from, _to, datagram) => datagram[0] !== TRANSPORT || !mute.some((address) => Buffer.compare(address, from) === 0)
}

/** Both dial until they compare, and say yes: what two people see who are alone in the room. */
function pairs(s: Scene, a: Player, b: Player, limit: number): number {
  let next = 0
  const before = new Set(codes(a))
  const agree = (): boolean => codes(a).some((code) => !before.has(code) && codes(b).includes(code))
  const took = s.until(() => {
    if (s.world.scheduler.now >= next && !agree()) {
      next = s.world.scheduler.now + 6 * SECOND
      approach(a, b)
    }
    return agree()
  }, limit)
  accept(a, b)
  accept(b, a)
  s.world.run(1)
  return all(a, 'paired').length === 1 && all(b, 'paired').length === 1 ? took : Infinity
}

function room(seed: number, count: number): readonly [Scene, ...Player[]] {
  const s = new Scene(seed, count)
  for (const player of s.players) openWindow(player)
  return [s, ...s.players]
}

describe('a stranger that stalls', () => {
  it.each([['dialed us', false], ['was dialed', true]] as const)('before there is a code, and %s, is gone after 8 s, and two others pair meanwhile', (_how, dialed) => {
    const [s, a, b, evil] = room(31, 3) as [Scene, Player, Player, Player]
    stalls(s, evil)
    if (dialed) approach(a, evil)
    else approach(evil, a)
    s.until(() => a.counter('pairings_begun') === 1, 5)
    expect(pairs(s, a, b, 20)).toBeLessThan(2)
    expect(isConnected(a, b)).toBe(true)
    s.world.run(9)
    expect([a.counter('pairings_stalled'), a.counter('pairings_failed'), a.counter('pairings_done')]).toEqual([1, 1, 1])
    expect(a.node.endpoint.peers()).toEqual([a.handleOf(b)])
    expect(a.node.radio!.size).toBe(1)
  })

  it('and never lets go: who dials takes no place of whom we dial, and two of them keep a third out for 30 s, not for two minutes', () => {
    const [s, a, b, evil, worse] = room(32, 4) as [Scene, Player, Player, Player, Player]
    for (const one of [evil, worse]) approach(one, a)
    expect(s.until(() => codes(a).length === 2, 5)).toBeLessThan(2)
    const since = s.world.scheduler.now
    expect(pairs(s, b, a, 100)).toBeLessThan(40)
    expect((s.world.scheduler.now - since) / SECOND).toBeGreaterThan(25)
    expect(a.counter('pairings_displaced')).toBe(1)
    // And whom a dials is not held up at all.
    const [t, c, d, ...strangers] = room(33, 4) as [Scene, Player, Player, Player, Player]
    for (const one of strangers) approach(one, c)
    expect(t.until(() => codes(c).length === 2, 5)).toBeLessThan(2)
    expect(pairs(t, c, d, 20)).toBeLessThan(2)
    expect(c.counter('pairings_displaced')).toBe(0)
  })

  it('does not push out the one to whom the user has said yes', () => {
    const [s, a, b, evil, worse, worst] = room(34, 5) as [Scene, Player, Player, Player, Player, Player]
    approach(b, a)
    s.until(() => codes(a).length === 1, 5)
    accept(a, b)
    approach(evil, a)
    s.world.run(31)
    for (const one of [worse, worst]) approach(one, a)
    s.world.run(12)
    expect([a.counter('pairings_displaced'), a.counter('pairings_failed')]).toEqual([1, 1])
    accept(b, a)
    s.world.run(1)
    expect([all(a, 'paired').length, all(b, 'paired').length]).toEqual([1, 1])
  })
})

describe('an exchange', () => {
  it('ends with its link, on both sides, and begins anew on another', () => {
    const [s, a, b] = room(35, 2) as [Scene, Player, Player]
    approach(a, b)
    s.until(() => codes(a).length === 1 && codes(b).length === 1, 5)
    s.air.reaches = () => false
    s.world.run(6)
    expect([all(a, 'pairing-ended').length, all(b, 'pairing-ended').length]).toEqual([1, 1])
    s.world.run(12)
    expect([a.node.endpoint.peers(), b.node.endpoint.peers(), a.node.radio!.size, b.node.radio!.size]).toEqual([[], [], 0, 0])
    s.air.reaches = () => true
    expect(pairs(s, b, a, 10)).toBeLessThan(2)
  })

  it('of which the last word was lost is had once more: the one who is a friend already compares again, whoever dials', () => {
    for (const last of ['a', 'b']) {
      for (const dialer of ['a', 'b']) {
        const [s, a, b] = room(37, 2) as [Scene, Player, Player]
        const what = `${last} said yes last, ${dialer} dials`
        approach(a, b)
        s.until(() => codes(a).length === 1 && codes(b).length === 1, 5)
        const [first, second] = last === 'b' ? [a, b] as const : [b, a] as const
        accept(first, second)
        s.world.run(1)
        s.air.reaches = () => false
        accept(second, first)
        s.world.run(6)
        expect([all(first, 'paired').length, all(second, 'paired').length], what).toEqual([0, 1])
        s.air.reaches = () => true
        const agree = (): boolean => codes(a).length > 1 && codes(a).at(-1) === codes(b).at(-1)
        // The daemon dials every 12 s. The first one finds the session of before, which the other does not know any more.
        for (let dials = 0; dials < 3 && !agree(); dials++) {
          approach(...(dialer === 'a' ? [a, b] as const : [b, a] as const))
          s.world.run(12)
        }
        expect(agree(), what).toBe(true)
        accept(a, b)
        accept(b, a)
        s.world.run(1)
        expect(all(first, 'paired').length, what).toBe(1)
        a.send(a.open(b), 'friends')
        expect(s.until(() => b.received.includes('friends'), 5), what).toBeLessThan(1)
        s.world.run(130)
        expect([isConnected(a, b), a.node.endpoint.node.pairing.size, b.node.endpoint.node.pairing.size], what).toEqual([true, 0, 0])
      }
    }
  })

  it('four at once: two that were dialed and two that dialed', () => {
    const [s, host, ...others] = room(36, 6) as [Scene, Player, ...Player[]]
    for (const other of others.slice(0, 3)) approach(host, other)
    for (const other of others.slice(3)) approach(other, host)
    s.world.run(5)
    expect(codes(host)).toHaveLength(4)
    expect(host.node.radio!.size).toBe(4)
  })
})

/** Strangers made by hand, each at its own address. */
class Window {
  readonly lone: LoneEndpoint = new LoneEndpoint({ provider, seed: repeated(1), config: { handshakeShare: 1 } })
  #links = 10

  constructor() {
    this.lone.endpoint.radio.openPairing(this.lone.now, 10 * minute)
  }

  /** A stranger who comes in; `undefined` when it is not let in. */
  come(seed: number, device: number): { readonly session: HandSession; readonly say: (frames: readonly number[]) => void; readonly leave: () => void } | undefined {
    const { lone } = this
    const link = this.#links++ as LinkId
    const from = encodeBleAddress('random', Uint8Array.of(1, 1, 1, 1, device >> 8, device & 0xff))
    const nonce = provider.random(new Uint8Array(8))
    lone.endpoint.handleLink(lone.now, link, 'opened', { kind: 'ble', local: from, remote: from, dialed: false, datagramMax: 1200, segmentsMax: 1, nonce })
    const guest = new XxGuest(seed, OPEN_KEY, nonce)
    const say = (bytes: Uint8Array): readonly Uint8Array[] => lone.receive({ from, bytes, link }).map((sent) => sent.bytes)
    const [B] = say(guest.A)
    const leave = (): void => {
      lone.endpoint.handleLink(lone.now, link, 'closed')
      lone.drain()
    }
    if (B === undefined) {
      leave()
      return undefined
    }
    const { C, session } = guest.confirm(B, { tai64n: stampOf(toWallTime(lone.wall)) })
    const answered = say(C).flatMap((bytes) => session.open(bytes)?.frames ?? [])
    if (answered.some(({ type }) => type === 0x3f)) {
      leave()
      return undefined
    }
    return { session, say: (frames) => { say(session.seal(frames)) }, leave }
  }
}

describe('tries', () => {
  it('64 in which a stranger learnt the digits close the window, whoever it says it is', () => {
    const window = new Window()
    let tries = 0
    for (let n = 0; n < 200; n++) {
      const guest = window.come(2 + n % 200, n)
      if (guest === undefined) break
      guest.say(pair(1, repeated(n, 16)))
      tries++
      guest.say(close(7))
      guest.leave()
      window.lone.advance(SECOND)
    }
    expect(tries).toBe(64)
    expect(window.lone.endpoint.radio.pairingOpen(window.lone.now)).toBe(false)
    expect(window.lone.counters['pairings_failed']).toBe(64)
    expect(window.lone.endpoint.tables()).toMatchObject({ sessions: 0, peers: 0, xx: 0 })
  })

  it('who leaves before made none, and cannot close the window', () => {
    const window = new Window()
    for (let n = 0; n < 100; n++) {
      const guest = window.come(2 + n, n)
      expect([n, guest !== undefined]).toEqual([n, true])
      guest!.leave()
      window.lone.advance(SECOND)
    }
    expect(window.lone.endpoint.radio.pairingOpen(window.lone.now)).toBe(true)
    expect(window.lone.counters['pairings_failed']).toBe(100)
    expect(window.lone.endpoint.tables()).toMatchObject({ sessions: 0, peers: 0, xx: 0 })
  })

  it('three from one address, until the next window; others are let in', () => {
    const window = new Window()
    const results = [1, 2, 3, 4, 5].map((n) => {
      const guest = window.come(n + 1, 7)
      guest?.say(pair(1, repeated(n, 16)))
      guest?.leave()
      return guest !== undefined
    })
    expect(results).toEqual([true, true, true, false, false])
    expect(window.lone.counters['drop_not_admitted']).toBe(2)
    expect(window.come(9, 8)).toBeDefined()
    window.lone.endpoint.radio.openPairing(window.lone.now, minute)
    expect(window.come(10, 7)).toBeDefined()
  })
})

describe('what a stranger says while it is compared', () => {
  it('any frames of pairing, in any order, and others: the session ends or goes on, and the stranger is let in by our own yes alone', () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ op: fc.integer({ min: 0, max: 5 }), byte: fc.integer({ min: 0, max: 3 }) }).map(({ op, byte }) => pair(op, repeated(byte, [32, 16, 16, 0, 0, 3][op]))) },
      { weight: 1, arbitrary: fc.constantFrom<readonly number[]>([0x01], open(0), open(1), channelClose(0), [0x31, 1, ...repeated(9)], [0x32], [0x32, 0, 1, 2], [0x0d, 1, 0]) },
      { weight: 1, arbitrary: fc.constantFrom('yes' as const, 'no' as const) },
    )
    fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const window = new Window()
      const { lone } = window
      const guest = window.come(7, 1)!
      const peer = lone.endpoint.peers()[0]!
      let [saidYes, nonces, theirYes] = [false, 0, false]
      for (const one of steps) {
        const compared = lone.events.some(({ kind }) => kind === 'pairing')
        if (one === 'yes') {
          const taken = lone.endpoint.radio.acceptPairing(lone.now, peer)
          if (!compared) expect(taken).toBe(false)
          saidYes ||= taken
        } else if (one === 'no') {
          lone.endpoint.radio.rejectPairing(lone.now, peer)
        } else {
          if (one[0] === 0x32 && one[1] === 1) nonces++
          if (one[0] === 0x32 && one[1] === 3 && compared) theirYes = true
          guest.say(one)
        }
        lone.drain()
        const paired = lone.events.filter(({ kind }) => kind === 'paired').length
        // A code for one nonce of the other side, and one only; friends by two yes; nothing else meanwhile.
        expect(lone.events.filter(({ kind }) => kind === 'pairing').length).toBeLessThanOrEqual(Math.min(1, nonces))
        expect(paired).toBeLessThanOrEqual(saidYes && theirYes ? 1 : 0)
        if (paired === 0) expect([lone.endpoint.peerStats(peer)?.inRoster ?? false, lone.events.some(({ kind }) => kind === 'channel-incoming')]).toEqual([false, false])
      }
      guest.leave()
      lone.advance(10 * SECOND)
      lone.advance(10 * SECOND)
      expect(lone.events.filter(({ kind }) => kind === 'paired' || kind === 'pairing-ended')).toHaveLength(1)
    }), { numRuns: 100 })
  })
})
