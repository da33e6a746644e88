/** Floods of forged handshakes (WIRE.md §9, rows 1 and 2): constant tables, replies no larger than what came, and the honest get in. */
import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/core/base/bytes.ts'
import type { LinkId } from '../../../src/core/base/domain.ts'
import { cookieKey, openCookie } from '../../../src/core/session/macs.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { ping } from '../../support/hand-frames.ts'
import { cut, HandPeer, type HandInitiation, type HandSession } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, UDP, type Incoming, type Sent } from '../../support/lone-endpoint.ts'

const PEER = address('192.0.2.7')
const HONEST = address('192.0.2.8')
const TCP = 9 as LinkId
const SECOND = 1_000_000

interface Flood { readonly lone: LoneEndpoint; readonly random: SeededRandom; readonly provider: SimProvider; readonly peer: HandPeer; readonly honest: HandPeer }

function setUp(seed = 1): Flood {
  const random = new SeededRandom(seed)
  const provider = new SimProvider(random.fork())
  const [peer, honest] = [new HandPeer(provider, 9), new HandPeer(provider, 10)]
  const lone = new LoneEndpoint({ provider: new SimProvider(random.fork()), seed: repeated(1), peers: [peerRecord(peer.id), peerRecord(honest.id)] })
  lone.open(TCP, 'tcp')
  return { lone, random, provider, peer, honest }
}

const isB = ({ bytes }: Sent): boolean => bytes[0] === 0x60
const isCookie = ({ bytes }: Sent): boolean => bytes[0] === 0x61

/** A with a right mac1 and digest, and a body of noise: all that somebody who knows the id can make. */
function forged({ random, provider, lone }: Flood, count = 1): Uint8Array[] {
  const body = random.fill(new Uint8Array(288))
  return cut(provider, body, 0, { count, senderIndex: random.word() | 1, receiverIndex: 0 }, provider.idToX25519(lone.endpoint.id))
}

function anyAddress(random: SeededRandom): Uint8Array {
  if (random.chance(0.5)) return address(`${1 + random.below(200)}.${random.below(256)}.${random.below(256)}.${random.below(256)}`, 1 + random.below(65_535))
  const bytes = random.fill(new Uint8Array(18))
  bytes[0] = 0x20
  return bytes
}

/** Brings the node under load and says what it takes to stay there. */
function load(flood: Flood, fragments = 300): void {
  for (let i = 0; i < fragments; i++) flood.lone.receive({ from: anyAddress(flood.random), bytes: forged(flood)[0]! })
}

/** What comes of a datagram, also when it waits for its share of the CPU first. */
function served({ lone }: Flood, incoming: Incoming): Sent[] {
  return [...lone.receive(incoming), ...lone.advance(300_000)]
}

/** The cookie in a COOKIE that answers this datagram of A. */
function cookieIn(flood: Flood, initiation: HandInitiation, cookie: Sent): Uint8Array {
  const { provider, lone } = flood
  const a = initiation.datagram()
  const key = cookieKey(provider, provider.idToX25519(lone.endpoint.id))
  return openCookie(provider, key, cookie.bytes.subarray(8, 24), a.subarray(a.length - 32, a.length - 16), cookie.bytes.subarray(24))!
}

function dial(flood: Flood, from: Uint8Array, cookie?: Uint8Array, link = UDP): { readonly initiation: HandInitiation; readonly sent: Sent[] } {
  const initiation = flood.honest.dial(flood.lone.endpoint.id, { wall: flood.lone.wall })
  return { initiation, sent: served(flood, { from, link, bytes: initiation.datagram(cookie === undefined ? {} : { cookie }) }) }
}

/** Asks for a cookie until one comes, as a dial does. */
function askCookie(flood: Flood, from: Uint8Array): { readonly initiation: HandInitiation; readonly cookie: Uint8Array } {
  for (;;) {
    const { initiation, sent } = dial(flood, from)
    const answer = sent.find(isCookie)
    if (answer !== undefined) return { initiation, cookie: cookieIn(flood, initiation, answer) }
  }
}

function join({ lone, peer }: Flood): HandSession {
  const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall })
  const b = lone.receive({ from: PEER, bytes: initiation.datagram() }).find(isB)!
  const session = initiation.finish(b.bytes)
  lone.receive({ from: PEER, bytes: session.seal(ping) })
  return session
}

describe('100,000 forged A in two seconds', () => {
  it('from random sources: tables stay constant, nobody gets more than it sent, the live session and an honest peer go on', () => {
    const flood = setUp()
    const { lone, random, honest } = flood
    const session = join(flood)
    const balance = new Map<string, number>()
    const limits = { halfOpen: 258, unvalidated: 256, digests: 16, reassembly: 130, queue: 64, stash: 0, indexes: 260, raw: 0, peers: 2, sessions: 2 }
    let joined: HandSession | undefined
    let initiation = honest.dial(lone.endpoint.id, { wall: lone.wall })
    let answeredPings = 0
    for (let batch = 0; batch < 2000; batch++) {
      const datagrams: Incoming[] = []
      for (let i = 0; i < 50; i++) {
        const from = anyAddress(random)
        const bytes = forged(flood, random.chance(0.2) ? 2 : 1)[0]!
        balance.set(toHex(from), (balance.get(toHex(from)) ?? 0) + bytes.length)
        datagrams.push({ from, bytes })
      }
      for (const { to, bytes } of lone.receive(...datagrams)) if (toHex(to) !== toHex(PEER)) balance.set(toHex(to), (balance.get(toHex(to)) ?? 0) - bytes.length)
      for (const [name, size] of Object.entries(lone.endpoint.tables())) if (size > limits[name as keyof typeof limits]) throw new Error(`${name}: ${size}`)
      lone.advance(1000)
      if (batch % 20 === 10) answeredPings += lone.receive({ from: PEER, bytes: session.seal(ping) }).some(({ bytes }) => session.open(bytes)?.frames[0]?.type === 0x02) ? 1 : 0
      // An honest dial, as the initiator makes it: copies, and at once again with a cookie.
      if (joined !== undefined || batch < 300 || batch % 100 !== 0) continue
      const [answer] = lone.receive({ from: HONEST, bytes: initiation.datagram() }).filter((sent) => isCookie(sent) || isB(sent))
      if (answer === undefined) continue
      const b = isB(answer) ? answer : lone.receive({ from: HONEST, bytes: initiation.datagram({ cookie: cookieIn(flood, initiation, answer) }) }).find(isB)
      if (b === undefined) initiation = honest.dial(lone.endpoint.id, { wall: lone.wall })
      else joined = initiation.finish(b.bytes)
    }
    expect(Math.min(...balance.values())).toBeGreaterThanOrEqual(0)
    expect(answeredPings).toBe(100)
    expect(joined).toBeDefined()
    lone.receive({ from: HONEST, bytes: joined!.seal(ping) })
    expect(lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(honest.id)!)!.state)).toBe('connected')
    // 20 % of a core for COOKIEs, 25 % for handshakes, of two seconds: the rest is dropped unread.
    const { cookies_sent: cookies, drop_handshake_noise: read } = lone.counters
    expect([cookies! > 20_000, cookies! * 12 < 0.45 * 2 * SECOND, read! * 380 < 0.3 * 2 * SECOND]).toEqual([true, true, true])
    expect(lone.drops).toBeGreaterThan(99_000)
    // When it is over, nothing is left of it.
    lone.advance(12 * SECOND)
    expect(lone.endpoint.tables()).toMatchObject({ halfOpen: 0, reassembly: 0, queue: 0, raw: 0 })
  })

  it('from one prefix with cookies: its bucket is emptied, others are served', () => {
    const flood = setUp(2)
    const { lone, random } = flood
    load(flood)
    lone.advance(300_000)
    const from = address('203.0.113.5')
    const { cookie } = askCookie(flood, from)
    let read = lone.counters['drop_handshake_noise']!
    for (let i = 0; i < 500; i++) {
      const body = random.fill(new Uint8Array(288))
      const [bytes] = cut(flood.provider, body, 0, { senderIndex: 5, receiverIndex: 0, cookie }, flood.provider.idToX25519(lone.endpoint.id))
      lone.receive({ from, bytes: bytes! })
    }
    read = lone.counters['drop_handshake_noise']! - read
    expect(read).toBeLessThanOrEqual(16)
    expect(lone.counters['drop_rate_limited']).toBe(484)
    const other = askCookie(flood, HONEST)
    expect(served(flood, { from: HONEST, bytes: other.initiation.datagram({ cookie: other.cookie }) }).some(isB)).toBe(true)
  })
})

describe('a cookie is worth one address for at most 240 s', () => {
  it('not another ip, port or path kind', () => {
    const flood = setUp(3)
    const { lone } = flood
    load(flood)
    const { initiation, cookie } = askCookie(flood, HONEST)
    const bytes = initiation.datagram({ cookie })
    for (const from of [address('192.0.2.9'), address('192.0.2.8', 7001), address('::1234')]) {
      const before = lone.counters['drop_mac2']!
      expect([served(flood, { from, bytes }).some(isB), lone.counters['drop_mac2']! - before]).toEqual([false, 1])
    }
    expect(served(flood, { from: HONEST, bytes }).some(isB)).toBe(true)
  })

  it('TCP proves its source by existing: no cookie is asked of it, none is sent', () => {
    const flood = setUp(4)
    load(flood)
    const { sent } = dial(flood, HONEST, undefined, TCP)
    expect([sent.some(isB), sent.some(isCookie)]).toEqual([true, false])
  })

  it('for 120 to 240 s, whether or not anybody came in between', () => {
    for (const [issued, used, good] of [[0, 119, true], [0, 121, true], [0, 239, true], [0, 241, false], [119, 121, true], [119, 239, true], [119, 241, false], [1, 1000, false]] as const) {
      for (const busy of [false, true]) {
        const flood = setUp(5)
        const { lone } = flood
        const start = lone.mono
        const at = (seconds: number): void => {
          while (busy && lone.mono < start + (seconds - 3) * SECOND) {
            lone.advance(2 * SECOND)
            dial(flood, address('198.51.100.7'))
          }
          lone.advance(start + seconds * SECOND - lone.mono)
          load(flood)
        }
        at(issued)
        const { cookie } = askCookie(flood, HONEST)
        at(used)
        const { sent } = dial(flood, HONEST, cookie)
        expect([sent.some(isB), issued, used, busy]).toEqual([good, issued, used, busy])
      }
    }
  })

  it('and the honest one uses it: a real dial gets through a node under load with one COOKIE', () => {
    const flood = setUp(6)
    const { lone } = flood
    const caller = new LoneEndpoint({ provider: new SimProvider(new SeededRandom(77)), seed: repeated(10), peers: [] })
    load(flood)
    caller.act((endpoint, now) => endpoint.connect(now, lone.endpoint.id, { addresses: [address('192.0.2.1')], now: true }))
    let fromCaller = caller.drain()
    for (let round = 0; round < 12 && caller.endpoint.tables()['sessions'] === 1; round++) {
      load(flood, 50)
      const answers = fromCaller.flatMap(({ bytes }) => lone.receive({ from: HONEST, bytes })).filter(({ to }) => toHex(to) === toHex(HONEST))
      fromCaller = answers.flatMap(({ bytes }) => caller.receive({ from: address('192.0.2.1'), bytes }))
      if (fromCaller.some(({ bytes }) => bytes[0] === 0x62)) break
      fromCaller.push(...caller.advance(500_000))
      lone.advance(500_000)
    }
    expect(fromCaller.some(({ bytes }) => bytes[0] === 0x62)).toBe(true)
  })
})

describe('10,000 half-open handshakes of one valid key', () => {
  it('are bounded, freed after 10 s, and shut out nobody', () => {
    const flood = setUp(7)
    const { lone, peer } = flood
    for (let i = 0; i < 10_000; i++) {
      lone.receive({ from: anyAddress(flood.random), bytes: peer.dial(lone.endpoint.id, { wall: lone.wall + i }).datagram() })
      if (i % 100 === 0) lone.advance(10_000)
      expect(lone.endpoint.tables()['halfOpen']).toBeLessThanOrEqual(4)
    }
    const { initiation, cookie } = askCookie(flood, HONEST)
    lone.advance(SECOND)
    expect(lone.receive({ from: HONEST, bytes: initiation.datagram({ cookie }) }).some(isB) || dial(flood, HONEST).sent.some(isB)).toBe(true)
    lone.advance(11 * SECOND)
    expect(lone.endpoint.tables()).toMatchObject({ halfOpen: 0, indexes: 0, queue: 0 })
  })
})
