/** The bounded tables behind handshakes, each against its rule in WIRE.md §3.5, §3.6 and §4. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat } from '../../../src/core/base/bytes.ts'
import { toInstant } from '../../../src/core/base/time.ts'
import type { Keys } from '../../../src/core/connection/keys/keys.ts'
import { CookieSecrets } from '../../../src/core/endpoint/handshakes/cookie-secrets.ts'
import { DigestCache } from '../../../src/core/endpoint/handshakes/digest-cache.ts'
import { HalfOpenTable, type HalfOpen } from '../../../src/core/endpoint/handshakes/half-open.ts'
import { HandshakeQueue, type Queued } from '../../../src/core/endpoint/handshakes/handshake-queue.ts'
import { LoadMeter, PrefixBuckets } from '../../../src/core/endpoint/handshakes/load.ts'
import { ReassemblyTable } from '../../../src/core/endpoint/handshakes/reassembly-table.ts'
import { ReceiverIndex } from '../../../src/core/endpoint/receiver-index.ts'
import { computeCookie, writeFragmentMacs } from '../../../src/core/session/macs.ts'
import type { HandshakeFragment } from '../../../src/core/wire/handshake-fragment.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { address } from '../../support/lone-endpoint.ts'

const SECOND = 1_000_000
const at = (seconds: number): ReturnType<typeof toInstant> => toInstant(1e9 + Math.round(seconds * SECOND))
const host = (i: number): Uint8Array => address(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)

function pieces(message: Uint8Array, count: number, digest: Uint8Array = message.slice(0, 8), sender = 1): HandshakeFragment[] {
  const size = Math.ceil(message.length / count)
  return Array.from({ length: count }, (_, number) => ({
    kind: 'handshake', suite: 1, message: 0, number, count, senderIndex: sender, receiverIndex: 0, digest, body: message.slice(number * size, (number + 1) * size),
    mac1: new Uint8Array(16), mac2: new Uint8Array(16),
  }))
}

describe('ReassemblyTable', () => {
  const add = (table: ReassemblyTable, fragment: HandshakeFragment, from = host(1), now = at(0), loaded = false): ReturnType<ReassemblyTable['add']> => table.add(now, 'udp', from, fragment, false, loaded)

  it('any order of any pieces with duplicates gives the message, exactly once it is whole', () => {
    fc.assert(fc.property(fc.integer({ min: 2, max: 4 }), fc.integer({ min: 256, max: 2048 }), fc.array(fc.nat(3), { maxLength: 20 }), fc.nat(), (count, size, order, seed) => {
      const table = new ReassemblyTable()
      const message = new SeededRandom(seed).fill(new Uint8Array(size))
      const parts = pieces(message, count)
      const seen = new Set<number>()
      for (const pick of order) {
        const number = pick % count
        const result = add(table, parts[number]!)
        if (seen.has(number)) {
          expect(result).toBe('duplicate')
          continue
        }
        seen.add(number)
        if (seen.size < count) expect(result).toBe('incomplete')
        else {
          expect(result).toEqual(message)
          seen.clear()
        }
      }
      expect(table.size).toBe(seen.size > 0 ? 1 : 0)
    }), { numRuns: 300 })
  })

  it('the first in a slot stays, whatever comes after it', () => {
    const table = new ReassemblyTable()
    const [one, two] = pieces(repeated(1, 300), 2)
    add(table, one!)
    expect(add(table, { ...one!, body: repeated(9, 150) })).toBe('duplicate')
    expect(add(table, two!)).toEqual(repeated(1, 300))
  })

  it('digests, senders, suites, counts, sources and path kinds do not mix', () => {
    const table = new ReassemblyTable()
    const [one, two] = pieces(repeated(1, 300), 2)
    add(table, one!)
    for (const other of [{ ...two!, digest: repeated(7, 8) }, { ...two!, senderIndex: 2 }, { ...two!, suite: 3 }, { ...two!, count: 3 }]) expect(add(table, other)).toBe('incomplete')
    expect(add(table, two!, host(2))).toBe('incomplete')
    expect(table.add(at(0), 'tcp', host(1), two!, false, false)).toBe('incomplete')
    expect([table.size, add(table, two!)]).toEqual([7, repeated(1, 300)])
  })

  it('pieces that are not cut as the specification says are refused, and so is more than 2048 bytes', () => {
    for (const cuts of [[64, 236], [236, 64], [100, 100, 88], [73, 72, 72, 71]]) {
      const table = new ReassemblyTable()
      const parts = cuts.map((length, number) => ({ ...pieces(repeated(1, 300), cuts.length)[number]!, body: repeated(1, length) }))
      expect([parts.map((part) => add(table, part)).at(-1), table.size]).toEqual(['malformed', 0])
    }
    const table = new ReassemblyTable()
    expect(pieces(repeated(1, 2049), 2).map((part) => add(table, part)).at(-1)).toBe('malformed')
    expect(pieces(repeated(1, 2048), 2).map((part) => add(table, part)).at(-1)).toEqual(repeated(1, 2048))
    expect(table.size).toBe(0)
  })

  it('5 s from the first piece, never extended', () => {
    const table = new ReassemblyTable()
    const [one, two, three] = pieces(repeated(1, 300), 3)
    add(table, one!, host(1), at(0))
    add(table, two!, host(1), at(4.9))
    expect(table.nextTimeout()).toBe(at(5))
    table.expire(at(4.999))
    expect(table.size).toBe(1)
    expect(add(table, three!, host(1), at(5))).toBe('incomplete')
    expect([table.size, table.nextTimeout()]).toEqual([1, at(10)])
  })

  it('16 per source prefix, 4 under load: a full prefix loses its oldest', () => {
    const table = new ReassemblyTable()
    for (let i = 0; i < 40; i++) add(table, pieces(repeated(1, 300), 2, repeated(i, 8), i + 1)[0]!, address('10.0.0.1', 1000 + i))
    expect(table.size).toBe(16)
    expect(add(table, pieces(repeated(1, 300), 2, repeated(39, 8), 40)[1]!, address('10.0.0.1', 1039))).toEqual(repeated(1, 300))
    add(table, pieces(repeated(1, 300), 2, repeated(50, 8))[0]!, address('10.0.0.1'), at(1), true)
    expect(table.size).toBe(4)
    for (let i = 0; i < 40; i++) add(table, pieces(repeated(1, 300), 2, repeated(i, 8))[0]!, address(`2001:db8::${i + 1}`), at(1))
    expect(table.size).toBe(20)
  })

  it('1024 in all: 100,000 that are never completed leave others room', () => {
    const table = new ReassemblyTable()
    const random = new SeededRandom(4)
    const [mine, rest] = pieces(repeated(1, 300), 2)
    add(table, mine!, host(1), at(0))
    for (let i = 0; i < 100_000; i++) {
      // A hundred places fill the table; each loses its own.
      add(table, pieces(repeated(1, 300), 2, random.fill(new Uint8Array(8)), i + 2)[0]!, host(1000 + (i % 100)), at(0))
      if (table.size > 1024) throw new Error('the table grew')
    }
    expect([table.size, table.unvalidated]).toEqual([1024, 1024])
    expect(add(table, rest!, host(1), at(4))).toEqual(repeated(1, 300))
    table.expire(at(10))
    expect([table.size, table.unvalidated, table.nextTimeout()]).toEqual([0, 0, Infinity])
  })
})

describe('HandshakeQueue', () => {
  const entry = (prefix: string, change: Partial<Queued> = {}): Queued => ({ prefix, known: false, validated: false, ...change })
  const drain = (queue: HandshakeQueue<Queued>): string => Array.from({ length: queue.size }, () => queue.shift()!.prefix).join('')

  it('serves known peers, then proven sources, prefixes in turn', () => {
    const queue = new HandshakeQueue<Queued>()
    for (const prefix of 'aaabbc') queue.push(entry(prefix))
    queue.push(entry('v', { validated: true }))
    queue.push(entry('k', { known: true }))
    expect([drain(queue), queue.shift()]).toEqual(['kvababac', undefined])
  })

  it('loses the newest of the largest prefix, unproven ones first', () => {
    const queue = new HandshakeQueue<Queued>()
    for (let i = 0; i < 60; i++) queue.push(entry('a', { validated: true }))
    for (let i = 0; i < 4; i++) expect(queue.push(entry('b'))).toBe(true)
    expect(queue.push(entry('c', { validated: true }))).toBe(false)
    for (let i = 0; i < 10; i++) queue.push(entry('d', { validated: true }))
    const left = drain(queue)
    expect([left.length, left.includes('b'), left.split('c').length - 1, left.split('d').length - 1]).toEqual([64, false, 1, 10])
  })
})

describe('LoadMeter', () => {
  const meter = (random = 0): LoadMeter => new LoadMeter(at(0), 0.25, () => random)

  it.each([
    ['129 unvalidated reassemblies', (): unknown[] => [128, 129].map((count) => meter().underLoad(at(0), count, 0))],
    ['129 unvalidated half-open', (): unknown[] => [128, 129].map((count) => meter().underLoad(at(0), 0, count))],
    ['201 unproven fragments in a second', (): unknown[] => [200, 201].map((count) => {
      const load = meter()
      for (let i = 0; i < count; i++) load.countUnproven(at(0))
      return load.underLoad(at(0), 0, 0)
    })],
    ['more than 20 % of the last second', (): unknown[] => [0.19, 0.21].map((share) => {
      const load = meter()
      load.spend(at(0), share * SECOND)
      return load.underLoad(at(0.5), 0, 0)
    })],
  ])('is under load from %s on', (_what, measure) => expect(measure()).toEqual([false, true]))

  it('stays so for one second after', () => {
    const load = meter()
    expect([load.underLoad(at(0), 200, 0), load.underLoad(at(0.999), 0, 0), load.underLoad(at(1.001), 0, 0)]).toEqual([true, true, false])
  })

  it('gives handshakes their share of each 100 ms and says when there is more', () => {
    const load = meter()
    let count = 0
    while (load.take(at(0), 400)) count++
    expect(count).toBe(63)
    const next = load.nextAt(at(0))
    expect([load.take(toInstant(next - 10), 400), load.take(next, 400)]).toEqual([false, true])
    let second = 0
    for (let ms = 0; ms < 1000; ms++) while (load.take(at(1 + ms / 1000), 400)) second += 400
    expect(second).toBeLessThan(0.25 * SECOND + 25_000 + 800)
    expect(second).toBeGreaterThan(0.25 * SECOND - 800)
  })

  it('COOKIEs take 20 % of a core at most, and are a random choice beyond half of that', () => {
    const greedy = meter(0)
    let sent = 0
    for (let i = 0; i < 100_000; i++) if (greedy.takeCookie(at(i / 100_000), 12)) sent++
    expect(sent * 12).toBeLessThanOrEqual(0.22 * SECOND + 12)
    const unlucky = meter(0.999)
    let lucky = 0
    while (unlucky.takeCookie(at(0), 12)) lucky++
    expect(lucky * 12).toBeLessThanOrEqual(0.51 * 20_000)
  })
})

describe('PrefixBuckets', () => {
  const buckets = (): PrefixBuckets => new PrefixBuckets(Uint32Array.of(1, 2, 3, 4))
  const taken = (table: PrefixBuckets, from: (i: number) => Uint8Array, count: number, seconds = 0): number => {
    let sum = 0
    for (let i = 0; i < count; i++) if (table.take(at(seconds), from(i), 0)) sum++
    return sum
  }

  it('a burst of 16 and 40 a second per address (v4 /32, v6 /64), eight times that per /24 and /48', () => {
    const table = buckets()
    expect(taken(table, () => address('192.0.2.1'), 100)).toBe(16)
    expect(taken(table, () => address('192.0.2.1'), 100, 0.1)).toBe(4)
    expect(taken(table, () => address('192.0.2.1', 9), 100, 10)).toBe(16)
    expect(taken(table, (i) => address(`192.0.2.${i % 250}`), 1000, 20)).toBe(128)
    expect(taken(buckets(), (i) => address(`2001:db8:1:1::${i + 1}`), 100)).toBe(16)
    expect(taken(buckets(), (i) => address(`2001:db8:1:${i % 200}::1`), 1000)).toBe(128)
  })

  it('loopback is exempt, and a full table of others leaves most alone', () => {
    const table = buckets()
    expect(taken(table, () => address('127.0.0.1'), 1000)).toBe(1000)
    expect(taken(table, () => address('::1'), 1000)).toBe(1000)
    for (let i = 0; i < 50; i++) taken(table, () => host(i * 256), 200)
    let honest = 0
    for (let i = 0; i < 200; i++) if (table.take(at(0), address(`203.${i}.113.1`), 0)) honest++
    expect(honest).toBeGreaterThan(190)
  })
})

describe('CookieSecrets', () => {
  it('a cookie verifies for its address until the second rotation after it, counted from the start and not from visits', () => {
    const provider = new SimProvider(new SeededRandom(1))
    for (const [issued, visits, used, good] of [[0, [], 239, true], [0, [239], 300, false], [0, [119, 121, 239], 241, false], [119, [239], 239.9, true], [119, [], 240.1, false], [130, [239], 359, true], [130, [], 1e6, false]] as const) {
      const secrets = new CookieSecrets(provider, at(0))
      const cookie = secrets.cookieOf(at(issued), 'udp', host(1))
      const datagram = new Uint8Array(340)
      writeFragmentMacs(provider, datagram, 0, 308, 0, repeated(1), cookie)
      for (const visit of visits) secrets.cookieOf(at(visit), 'udp', host(3))
      const verify = (kind: 'udp' | 'turn', from: Uint8Array): boolean => secrets.verify(at(used), kind, from, datagram, 0, 340)
      expect([verify('udp', host(1)), verify('udp', host(2)), verify('turn', host(1))], `${issued} ${used}`).toEqual([good, false, false])
    }
    expect(computeCookie(provider, repeated(1), 'udp', host(1))).toHaveLength(16)
  })
})

describe('HalfOpenTable', () => {
  const entry = (i: number, validated: boolean, seconds = 0): HalfOpen => ({
    kind: 'half-open', keys: { localIndex: i } as unknown as Keys, sourceKey: `s${i}`, peerKey: `p${i}`, validated, createdAt: at(seconds), sidSelf: repeated(i & 255, 8),
  } as unknown as HalfOpen)

  it('256 unvalidated and 4096 validated, the oldest of its kind goes, all after 10 s', () => {
    const gone: number[] = []
    const table = new HalfOpenTable(({ keys }) => gone.push(keys.localIndex))
    for (let i = 0; i < 5000; i++) table.add(entry(i, i % 2 === 0 && i < 4000, i / 10_000))
    expect([table.unvalidated, table.size]).toEqual([256, 2256])
    for (let i = 5000; i < 10_000; i++) table.add(entry(i, true, i / 10_000))
    expect([table.unvalidated, table.size, gone.length]).toEqual([256, 4352, 10_000 - 4352])
    expect(gone.slice(0, 3)).toEqual([1, 3, 5])
    expect(table.nextTimeout()).toBe(at(10.4744))
    table.expire(at(10.98))
    expect(table.size).toBe(199)
    table.expire(at(11))
    expect([table.size, gone.length, new Set(gone).size, table.nextTimeout()]).toEqual([0, 10_000, 10_000, Infinity])
  })
})

describe('DigestCache', () => {
  it('remembers the last 4096', () => {
    const cache = new DigestCache()
    const digest = (i: number): Uint8Array => concat(Uint8Array.of(i & 255, i >> 8), repeated(0, 6))
    for (let i = 0; i < 6000; i++) cache.remember(digest(i), { suite: 1, senderIndex: i, count: 1, size: 288, half: undefined })
    expect([cache.size, cache.find(digest(1903)), cache.find(digest(1904))?.senderIndex]).toEqual([4096, undefined, 1904])
  })
})

describe('ReceiverIndex', () => {
  const entry = {} as never

  it('draws again while an index is zero, in use or buried less than 10 minutes ago', () => {
    const words = [0, 5, 5, 6, 5, 7]
    const index = new ReceiverIndex(() => words.shift()!)
    index.set(index.draw(), entry)
    expect(index.get(5)).toBe(entry)
    index.set(index.draw(), entry)
    index.remove(at(0), 5, true)
    expect([index.draw(), index.get(5), index.size]).toEqual([7, undefined, 1])
    const later = [5]
    const other = new ReceiverIndex(() => later.shift()!)
    other.set(5, entry)
    other.remove(at(0), 5, false)
    expect(other.draw()).toBe(5)
  })

  it('keeps 65,536 tombstones at most, the oldest go, and none for longer than 10 minutes', () => {
    const index = new ReceiverIndex(() => 1)
    for (let i = 1; i <= 70_000; i++) {
      index.set(i, entry)
      index.remove(at(0), i, true)
    }
    expect(index.size).toBe(0)
    expect(index.buried).toBe(65_536)
    index.set(70_001, entry)
    index.remove(at(601), 70_001, true)
    expect(index.buried).toBe(1)
  })
})
