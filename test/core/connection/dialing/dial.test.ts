/** The initiator's campaign (WIRE.md §3.7): when copies and fresh messages A go out, how many, to whom, and what ends it. */
import { describe, expect, it } from 'vitest'
import { equalBytes, readU32 } from '../../../../src/core/base/bytes.ts'
import type { LinkId } from '../../../../src/core/base/domain.ts'
import { SeededRandom } from '../../../../src/sim/random.ts'
import { SimProvider } from '../../../../src/sim/sim-provider.ts'
import { mac, HandPeer } from '../../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, type Sent } from '../../../support/lone-endpoint.ts'
import { repeated } from '../../../support/bytes.ts'
import { sealCookie, cookieKey } from '../../../../src/core/session/macs.ts'
import { encodeCookieDatagram } from '../../../../src/core/wire/datagram.ts'

const PEER = address('192.0.2.7')
const SECOND = 1_000_000

interface Timed extends Sent { readonly at: number }

function setUp(seed: number, config = {}): { lone: LoneEndpoint; peer: HandPeer; provider: SimProvider; start: number; run: (duration: number) => Timed[] } {
  const provider = new SimProvider(new SeededRandom(seed))
  const peer = new HandPeer(provider, 9)
  const lone = new LoneEndpoint({ provider, seed: repeated(1), peers: [peerRecord(peer.id)], config })
  const start = lone.mono
  /** Steps of 1 ms, so that each datagram has its moment. */
  const run = (duration: number): Timed[] => {
    const timed: Timed[] = []
    const until = lone.mono + duration
    while (lone.mono < until) {
      const next = Math.max(lone.mono, Math.min(until, lone.endpoint.nextTimeout()))
      for (const sent of lone.advance(next - lone.mono)) timed.push({ ...sent, at: (lone.mono - start) / SECOND })
    }
    return timed
  }
  return { lone, peer, provider, start, run }
}

function dial(lone: LoneEndpoint, peer: HandPeer, addresses = [PEER]): void {
  lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses, now: true }))
}

const indexOf = ({ bytes }: Sent): number => readU32(bytes, 4)

describe('one attempt', () => {
  it('begins with the call itself, not with the next timer', () => {
    const { lone, peer } = setUp(1)
    dial(lone, peer)
    expect(lone.drain()).toHaveLength(1)
  })

  it('sends the same A at 0, 0.5, 1.5 and 3.5 s ± 10 %, and a fresh one at 5 s + at most 334 ms', () => {
    const firsts: number[] = []
    for (let seed = 1; seed <= 200; seed++) {
      const { lone, peer, run } = setUp(seed)
      dial(lone, peer)
      const sent = run(5.34 * SECOND)
      const [a, b, c, d, fresh] = sent
      expect(sent).toHaveLength(5)
      for (const copy of [b, c, d]) expect(copy!.bytes).toEqual(a!.bytes)
      expect(indexOf(fresh!)).not.toBe(indexOf(a!))
      expect(fresh!.bytes.subarray(20)).not.toEqual(a!.bytes.subarray(20))
      expect(a!.at).toBe(0)
      for (const [copy, time] of [[b, 0.5], [c, 1.5], [d, 3.5]] as const) expect(Math.abs(copy!.at - time)).toBeLessThanOrEqual(time * 0.1)
      expect(fresh!.at).toBeGreaterThanOrEqual(5)
      expect(fresh!.at).toBeLessThanOrEqual(5.334)
      firsts.push(b!.at)
    }
    // Jitter is jitter: spread over the whole width.
    expect([Math.min(...firsts) < 0.46, Math.max(...firsts) > 0.54]).toEqual([true, true])
  })

  it('raises the stamp with every fresh A, also when the clock stands still or goes back', () => {
    const { lone, peer, run } = setUp(5)
    dial(lone, peer)
    const stamps: Uint8Array[] = []
    let index = 0
    for (let i = 0; i < 12; i++) {
      const sent = run(5.4 * SECOND)
      lone.wall -= 60_000
      for (const datagram of sent) {
        if (indexOf(datagram) === index) continue
        index = indexOf(datagram)
        stamps.push(peer.answer(datagram.bytes).payload.tai64n)
      }
    }
    expect(stamps.length).toBeGreaterThan(10)
    for (let i = 1; i < stamps.length; i++) expect(Buffer.compare(stamps[i]!, stamps[i - 1]!)).toBeGreaterThan(0)
    const persisted = lone.events.flatMap((event) => event.kind === 'persist' && event.value?.kind === 'peer' ? [event.value.record.lastSent] : [])
    expect(persisted.at(-1)).toEqual(stamps.at(-1))
  })
})

describe('the campaign', () => {
  it('gives up loudly after 90 s: then pauses of 30 s that double to 15 min', () => {
    const { lone, peer, run } = setUp(1)
    dial(lone, peer)
    const loud = run(95 * SECOND)
    const starts = (sent: readonly Timed[]): number[] => sent.filter((one, i) => i === 0 || indexOf(one) !== indexOf(sent[i - 1]!)).map(({ at }) => at)
    expect(starts(loud)).toHaveLength(18)
    expect(lone.events.filter(({ kind }) => kind === 'peer')).toMatchObject([{ state: 'dialing' }, { state: 'unreachable', reason: 'timeout' }])
    const quiet = starts(run(3600 * SECOND))
    const pauses = quiet.map((at, i) => at - (i === 0 ? 90 : quiet[i - 1]!))
    expect(pauses.map((pause) => Math.round(pause / 30) * 30)).toEqual([30, 60, 120, 240, 480, 900, 900].slice(0, pauses.length))
    expect(quiet).toHaveLength(7)
    expect(lone.endpoint.nextTimeout()).toBeLessThan(Infinity)
  })

  it('sends 5 copies to a silent address, then one per attempt', () => {
    const { lone, peer, run } = setUp(2)
    dial(lone, peer)
    const sent = run(30 * SECOND)
    const perAttempt = new Map<number, number>()
    for (const one of sent) perAttempt.set(indexOf(one), (perAttempt.get(indexOf(one)) ?? 0) + 1)
    expect([...perAttempt.values()]).toEqual([4, 1, 1, 1, 1, 1])
  })

  it('is loud again at once when an app asks, and cuts addresses at 16', () => {
    const { lone, peer, run } = setUp(3)
    const many = Array.from({ length: 20 }, (_, i) => address(`192.0.2.${i + 1}`))
    dial(lone, peer, many)
    const targets = new Set(run(1).map(({ to }) => to.join()))
    expect(targets).toEqual(new Set(many.slice(0, 16).map((to) => to.join())))
    run(200 * SECOND)
    const before = lone.mono
    dial(lone, peer, [])
    const sent = run(1)
    expect([sent.length, lone.mono - before]).toEqual([16, 1])
    // A new address takes the place of one that is not asked for any more, and need not wait for the next copy.
    const fresh = address('198.51.100.1')
    dial(lone, peer, [fresh])
    expect(run(1).map(({ to }) => to)).toEqual([fresh])
    expect(new Set(run(6 * SECOND).map(({ to }) => to.join())).size).toBe(16)
  })

  it('ends with disconnect, and leaves no index, key or timer behind', () => {
    const { lone, peer, run } = setUp(4)
    dial(lone, peer)
    const [a] = run(1)
    const { datagram } = peer.answer(a!.bytes)
    lone.act((endpoint, now) => { endpoint.disconnect(now, endpoint.findPeer(peer.id)!) })
    expect(lone.receive({ from: PEER, bytes: datagram })).toEqual([])
    expect(lone.counters['drop_unknown_index']).toBe(1)
    expect(run(100 * SECOND)).toEqual([])
  })

  it('goes on over a socket that was opened anew', () => {
    const { lone, peer, run } = setUp(6)
    dial(lone, peer)
    run(1)
    lone.act((endpoint, now) => { endpoint.handleLink(now, 1 as LinkId, 'closed') })
    expect(run(SECOND)).toEqual([])
    lone.open(2 as LinkId, 'udp')
    expect(run(5 * SECOND).map(({ link }) => link)).toContain(2)
  })
})

describe('answers to a dial', () => {
  it('a refusal silences it for 30 s and says why; demand wakes it', () => {
    for (const [status, reason] of [[1, 'busy'], [2, 'not_admitted'], [3, 'suite'], [77, 'refused']] as const) {
      const { lone, peer, run } = setUp(status)
      dial(lone, peer)
      const [a] = run(1)
      lone.receive({ from: PEER, bytes: peer.answer(a!.bytes, { status }).datagram })
      expect(lone.events.at(-1)).toMatchObject({ kind: 'peer', state: 'unreachable', reason })
      expect(run(29 * SECOND)).toEqual([])
      expect(run(3 * SECOND).length).toBeGreaterThan(0)
      dial(lone, peer)
      expect(run(1)).toHaveLength(1)
    }
  })

  it('a B with another id or that echoes another session id is a refusal, and no session', () => {
    for (const change of [{ id: repeated(3) }, { sidPeer: repeated(4, 8) }]) {
      const { lone, peer, run } = setUp(1)
      dial(lone, peer)
      const [a] = run(1)
      const { datagram } = peer.answer(a!.bytes, change)
      expect(lone.receive({ from: PEER, bytes: datagram })).toEqual([])
      expect(lone.events.at(-1)).toMatchObject({ kind: 'peer', state: 'unreachable', reason: 'refused' })
      expect(lone.receive({ from: PEER, bytes: datagram })).toEqual([])
      expect(lone.counters['drop_unknown_index']).toBe(1)
    }
  })

  it('a COOKIE resends the same A with mac2 at once, at most once a second, and does not use up the copies', () => {
    const { lone, peer, provider, run } = setUp(8)
    dial(lone, peer)
    const [a] = run(1)
    const key = cookieKey(provider, peer.identity.staticKeyPair.publicKey)
    const cookieFor = (datagram: Uint8Array, cookie: Uint8Array): Uint8Array => {
      const nonce = provider.random(new Uint8Array(16))
      return encodeCookieDatagram(readU32(datagram, 4), nonce, sealCookie(provider, key, nonce, datagram.subarray(datagram.length - 32, datagram.length - 16), cookie))
    }
    const again = lone.receive({ from: PEER, bytes: cookieFor(a!.bytes, repeated(1, 16)) })
    expect(again).toHaveLength(1)
    expect(again[0]!.bytes.subarray(0, 324)).toEqual(a!.bytes.subarray(0, 324))
    expect(again[0]!.bytes.subarray(324)).toEqual(mac(provider, repeated(1, 16), a!.bytes.subarray(0, 324)))
    expect(lone.receive({ from: PEER, bytes: cookieFor(a!.bytes, repeated(2, 16)) })).toEqual([])
    // The next copy carries the newer cookie, and so does the next A, for 120 s.
    const next = run(5.4 * SECOND)
    expect(next[0]!.bytes.subarray(324)).toEqual(mac(provider, repeated(2, 16), a!.bytes.subarray(0, 324)))
    const fresh = next.at(-1)!.bytes
    expect(fresh.subarray(324)).toEqual(mac(provider, repeated(2, 16), fresh.subarray(0, 324)))
    const later = run(120 * SECOND).at(-1)!.bytes
    expect(later.subarray(324)).toEqual(new Uint8Array(16))
    expect(lone.counters['drop_cookie']).toBe(0)
  })

  it('a cookie outlives the dial: the next one carries it at once, but to that peer and that address only', () => {
    const { lone, peer, provider, run } = setUp(18)
    const other = new HandPeer(provider, 19)
    const elsewhere = address('192.0.2.9')
    dial(lone, peer)
    const [a] = run(1)
    const nonce = provider.random(new Uint8Array(16))
    const box = sealCookie(provider, cookieKey(provider, peer.identity.staticKeyPair.publicKey), nonce, a!.bytes.subarray(a!.bytes.length - 32, a!.bytes.length - 16), repeated(1, 16))
    expect(lone.receive({ from: PEER, bytes: encodeCookieDatagram(readU32(a!.bytes, 4), nonce, box) })).toHaveLength(1)
    lone.act((endpoint, now) => endpoint.disconnect(now, endpoint.findPeer(peer.id)!))
    run(1)
    dial(lone, peer, [PEER, elsewhere])
    dial(lone, other)
    const cookies = lone.drain().map(({ to, bytes }) => [to, equalBytes(bytes.subarray(324), mac(provider, repeated(1, 16), bytes.subarray(0, 324)))])
    expect(cookies).toEqual([[PEER, true], [elsewhere, false], [PEER, false]])
  })

  it('a COOKIE from another address, for another fragment, or for a handshake that is over is dropped', () => {
    const { lone, peer, provider, run } = setUp(9)
    dial(lone, peer)
    const [a] = run(1)
    const key = cookieKey(provider, peer.identity.staticKeyPair.publicKey)
    const nonce = repeated(0xdd, 16)
    const good = encodeCookieDatagram(readU32(a!.bytes, 4), nonce, sealCookie(provider, key, nonce, a!.bytes.subarray(308, 324), repeated(1, 16)))
    const otherMac = encodeCookieDatagram(readU32(a!.bytes, 4), nonce, sealCookie(provider, key, nonce, repeated(3, 16), repeated(1, 16)))
    const zeroSet = good.slice()
    zeroSet[2] = 1
    const drops = (): number => lone.counters['drop_cookie']!
    for (const [from, bytes] of [[address('192.0.2.8'), good], [address('192.0.2.7', 7001), good], [PEER, otherMac], [PEER, zeroSet]] as const) {
      const before = drops()
      expect([lone.receive({ from, bytes }), drops() - before]).toEqual([[], 1])
    }
    run(5.4 * SECOND)
    expect([lone.receive({ from: PEER, bytes: good }), drops()]).toEqual([[], 5])
  })
})
