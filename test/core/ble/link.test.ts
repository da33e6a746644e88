import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BleLink } from '../../../src/core/ble/link.ts'
import { bleLinkLimits } from '../../../src/core/ble/limits.ts'
import { LATE_AFTER } from '../../../src/core/ble/early-values.ts'
import { REASSEMBLY_TIMEOUT } from '../../../src/core/ble/reassembly.ts'
import { BLE_DATAGRAM_MAX, decodeBleValue, encodeBye, encodeCredit, encodeHello, encodeSegment } from '../../../src/core/ble/values.ts'
import { after, never, second, toInstant, type Instant } from '../../../src/core/base/time.ts'

const start: Instant = toInstant(1_000_000)
const limits = bleLinkLimits
const NONCE = new Uint8Array(8).fill(0x4e)

function at(seconds: number): Instant {
  return after(start, seconds * second)
}

function filled(length: number, byte: number): Uint8Array {
  return new Uint8Array(length).fill(byte)
}

/** A link whose HELLO is out and answered: what is written and read next is data. */
function opened(mtu = 185, credits = 16, datagramMax = 1200): BleLink {
  const link = new BleLink(start, mtu, limits, NONCE)
  expect(link.pollValue(start)).toEqual(encodeHello(1200, 16, NONCE))
  link.handleSent(start, 1)
  link.handleValue(start, encodeHello(datagramMax, credits, NONCE))
  expect(link.isOpen).toBe(true)
  return link
}

/** Everything the link has for the controller, which takes it at once. */
function drain(link: BleLink, now = start): Uint8Array[] {
  const values: Uint8Array[] = []
  for (let value = link.pollValue(now); value !== undefined; value = link.pollValue(now)) {
    values.push(value)
    link.handleSent(now, 1)
  }
  return values
}

/** The side that breaks rules: segments of a datagram by hand. */
function segments(datagram: Uint8Array, from: number, size = 182): Uint8Array[] {
  const values: Uint8Array[] = []
  for (let offset = 0, n = from; offset < datagram.length; n++) {
    const value = encodeSegment(datagram, offset, n, size)
    offset += value.length - (offset === 0 ? 3 : 1)
    values.push(value)
  }
  return values
}

describe('two links', () => {
  test('datagrams of any size arrive whole and in order, at any MTU, with any credit, however the radio takes its values', () => {
    fc.assert(fc.property(
      fc.array(fc.record({ length: fc.integer({ min: 1, max: 1200 }), back: fc.boolean() }), { maxLength: 30 }),
      fc.integer({ min: 23, max: 517 }), fc.integer({ min: 23, max: 517 }), fc.array(fc.nat(5), { minLength: 1, maxLength: 40 }),
      (wishes, mtuA, mtuB, turns) => {
        const sides = [mtuA, mtuB].map((mtu) => ({ link: new BleLink(start, mtu, limits, NONCE), air: [] as Uint8Array[], got: [] as Uint8Array[] }))
        const sent: [Uint8Array[], Uint8Array[]] = [[], []]
        let turn = 0
        for (let quiet = 0; quiet < 10; turn++) {
          let moved = false
          for (const [i, side] of sides.entries()) {
            const other = sides[1 - i]!
            const wish = wishes.findIndex(({ back }) => back === (i === 1))
            if (wish >= 0 && side.link.writable) {
              const datagram = filled(wishes[wish]!.length, turn % 251)
              expect(side.link.send(start, datagram)).toBe('queued')
              sent[i as 0 | 1].push(datagram)
              wishes.splice(wish, 1)
              moved = true
            }
            for (let value = side.link.pollValue(start); value !== undefined; value = side.link.pollValue(start)) side.air.push(value)
            expect(side.air.length).toBeLessThanOrEqual(limits.unsentMax)
            // Some turns the controller sleeps; no more than a few in a row.
            for (let n = turn % 7 === 0 ? 2 : turns[turn % turns.length]!; n > 0 && side.air.length > 0; n--) {
              other.link.handleValue(start, side.air.shift()!)
              side.link.handleSent(start, 1)
              moved = true
            }
            for (let datagram = other.link.pollDatagram(); datagram !== undefined; datagram = other.link.pollDatagram()) other.got.push(datagram)
            expect(side.link.end).toBeUndefined()
          }
          quiet = moved ? 0 : quiet + 1
        }
        expect(sides[1]!.got).toEqual(sent[0])
        expect(sides[0]!.got).toEqual(sent[1])
        expect(wishes).toEqual([])
      },
    ), { numRuns: 60 })
  })

  test('more than 65,536 segments go over one link: counts wrap, credit does not', () => {
    const a = new BleLink(start, 23, limits, NONCE)
    const b = new BleLink(start, 23, limits, NONCE)
    let got = 0
    for (let sent = 0; sent < 1100;) {
      if (a.writable) {
        a.send(start, filled(1200, sent % 256))
        sent++
      }
      for (const value of drain(a)) b.handleValue(start, value)
      for (const value of drain(b)) a.handleValue(start, value)
      if (b.pollDatagram() !== undefined) got++
    }
    for (let n = 0; n < 100; n++) {
      for (const value of drain(a)) b.handleValue(start, value)
      for (const value of drain(b)) a.handleValue(start, value)
      if (b.pollDatagram() !== undefined) got++
    }
    expect(a.end ?? b.end).toBeUndefined()
    expect(got).toBe(1100)
  })
})

describe('what any peer may send', () => {
  test('any values: the link takes them or ends, and holds no more than its bounds', () => {
    const wild = fc.oneof(
      fc.uint8Array({ maxLength: 60 }), fc.constant(encodeHello(1200, 16, NONCE)), fc.nat(70_000).map(encodeCredit), fc.constant(encodeBye('done')),
      fc.tuple(fc.integer({ min: 1, max: 400 }), fc.nat(40), fc.nat(200)).map(([length, sequence, offset]) => encodeSegment(filled(length, 1), Math.min(offset, length - 1), sequence, 182)),
    )
    fc.assert(fc.property(fc.boolean(), fc.array(fc.tuple(wild, fc.nat(12)), { maxLength: 60 }), (greeted, values) => {
      const link = greeted ? opened() : new BleLink(start, 100, limits, NONCE)
      let now = start
      for (const [value, seconds] of values) {
        now = after(now, seconds * second)
        link.handleTimeout(now)
        link.handleValue(now, value)
        while (link.pollValue(now) !== undefined) link.handleSent(now, 1)
        for (let datagram = link.pollDatagram(); datagram !== undefined; datagram = link.pollDatagram()) expect(datagram.length).toBeLessThanOrEqual(BLE_DATAGRAM_MAX)
        // A side that ends has something to wait for: it never rests for ever.
        if (link.end !== undefined && link.ended === undefined) expect(link.nextTimeout()).toBeLessThan(never)
      }
    }), { numRuns: 500 })
  })

  test('each fault has its name, and its BYE', () => {
    const faults: [string, Uint8Array[]][] = [
      ['version', [Uint8Array.of(0x80, 9, 0xb0, 4, 16, 0)]],
      ['hello', [encodeHello(511, 16, NONCE)]], ['hello', [encodeHello(1201, 16, NONCE)]], ['hello', [encodeHello(1200, 0, NONCE)]],
      ['hello', [encodeHello(1200, 16, NONCE), encodeHello(1200, 16, NONCE)]],
      ['malformed', [Uint8Array.of(0xee)]], ['malformed', segments(filled(10, 1), 0)], ['malformed', [encodeCredit(0)]],
      ['malformed', [encodeHello(1200, 16, NONCE), ...segments(filled(1201, 1), 0, 514)]],
      ['malformed', [encodeHello(1200, 16, NONCE), segments(filled(300, 1), 0)[0]!, encodeSegment(filled(400, 1), 1, 1, 400)]],
      ['flow', [encodeHello(1200, 16, NONCE), encodeCredit(1)]],
      ['bye', [encodeBye('busy')]],
    ]
    for (const [end, values] of faults) {
      const link = new BleLink(start, 185, limits, NONCE)
      drain(link)
      for (const value of values) link.handleValue(start, value)
      expect(link.end, `${end} after ${values.map((value) => value[0]).join()}`).toBe(end)
      if (end === 'bye') continue
      expect(decodeBleValue(drain(link).at(-1)!)).toEqual({ kind: 'bye', code: end === 'version' ? 'version' : 'protocol' })
      expect(link.ended).toBe(end)
    }
  })

  test('a flood beyond the credit ends the link, though every segment alone is right', () => {
    const link = opened()
    for (let n = 0; n < 16; n++) link.handleValue(start, segments(filled(20, n), n)[0]!)
    expect(link.end).toBeUndefined()
    link.handleValue(start, segments(filled(20, 16), 16)[0]!)
    expect(link.end).toBe('flow')
  })

  test('fragments for ever: the datagram is given up after 10 s, and what follows it still arrives', () => {
    const link = opened()
    link.confirm()
    const endless = segments(filled(1200, 1), 0)
    link.handleValue(start, endless[0]!)
    link.handleTimeout(at(9))
    link.handleValue(at(9), endless[1]!)
    expect(link.nextTimeout()).toBe(after(start, REASSEMBLY_TIMEOUT))
    link.handleTimeout(at(10))
    expect(link.dropped).toBe(1)
    for (const value of endless.slice(2)) link.handleValue(at(10), value)
    expect(link.pollDatagram()).toBeUndefined()
    for (const value of segments(filled(40, 9), endless.length)) link.handleValue(at(10), value)
    expect(link.pollDatagram()).toEqual(filled(40, 9))
    expect(link.end).toBeUndefined()
  })

  test('a gap costs the datagrams it touches, not the link: what was lost counts as taken', () => {
    const link = opened()
    const [one, two, three] = [segments(filled(500, 1), 0), segments(filled(500, 2), 3), segments(filled(500, 3), 6)]
    for (const value of [...one, two[0]!, two[2]!, ...three]) link.handleValue(start, value)
    expect([link.pollDatagram(), link.pollDatagram()]).toEqual([filled(500, 1), undefined])
    // It might only be late.
    expect(link.nextTimeout()).toBe(after(start, LATE_AFTER))
    link.handleTimeout(after(start, LATE_AFTER))
    expect([link.pollDatagram(), link.pollDatagram()]).toEqual([filled(500, 3), undefined])
    expect(link.dropped).toBe(1)
    expect(drain(link)).toEqual([encodeCredit(9)])
  })

  test('values that overtake each other are put in order again, as far as eight places', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 1200 }), fc.integer({ min: 23, max: 513 })), { minLength: 1, maxLength: 20 }), fc.infiniteStream(fc.nat(8)), (datagrams, jumps) => {
      const [from, to] = [opened(), opened()]
      const got: Uint8Array[] = []
      const air: Uint8Array[] = []
      const sent = datagrams.map(([size], n) => filled(size, n))
      const deliver = (value: Uint8Array): void => {
        to.handleValue(start, value)
        for (let datagram = to.pollDatagram(); datagram !== undefined; datagram = to.pollDatagram()) got.push(datagram)
        for (const answer of drain(to)) from.handleValue(start, answer)
      }
      // Whichever of the next nine comes first; the oldest has been overtaken often enough then.
      const overtaken = new Map<Uint8Array, number>()
      const one = (): void => {
        const jump = Math.min(jumps.next().value as number, air.length - 1)
        const at = air.slice(0, jump).findIndex((value) => (overtaken.get(value) ?? 0) >= 8)
        const [value] = air.splice(at === -1 ? jump : at, 1)
        for (const passed of air.slice(0, at === -1 ? jump : at)) overtaken.set(passed, (overtaken.get(passed) ?? 0) + 1)
        deliver(value!)
      }
      for (const [n, datagram] of sent.entries()) {
        from.setMtu(datagrams[n]![1])
        expect(from.send(start, datagram)).toBe('queued')
        for (let value = from.pollValue(start); value !== undefined; value = from.pollValue(start)) {
          from.handleSent(start, 1)
          air.push(value)
        }
        while (from.unsentBytes > 0) {
          one()
          for (let value = from.pollValue(start); value !== undefined; value = from.pollValue(start)) {
            from.handleSent(start, 1)
            air.push(value)
          }
        }
      }
      while (air.length > 0) one()
      expect(to.end).toBeUndefined()
      expect(from.end).toBeUndefined()
      expect(got).toEqual(sent)
      expect(to.dropped).toBe(0)
    }), { numRuns: 200 })
  })

  test('one that comes after it was given up is passed over, as is credit that was overtaken; many of them are a fault', () => {
    const link = opened()
    const values = Array.from({ length: 12 }, (_, n) => segments(filled(20, n), n)[0]!)
    for (const value of values.slice(1, 9)) link.handleValue(start, value)
    expect(link.pollDatagram()).toBeUndefined()
    link.handleValue(start, values[9]!)
    link.handleValue(start, values[10]!)
    for (let n = 1; n <= 10; n++) expect(link.pollDatagram()).toEqual(filled(20, n))
    for (let times = 0; times < 8; times++) link.handleValue(start, values[10]!)
    expect([link.end, link.pollDatagram()]).toEqual([undefined, undefined])
    link.handleValue(start, values[11]!)
    expect(link.pollDatagram()).toEqual(filled(20, 11))
    for (let times = 0; times < 17; times++) link.handleValue(start, values[11]!)
    expect(link.end).toBe('flow')
  })

  test('one that was given up may be as late as the credit is great', () => {
    for (const [held, more] of [[7, 0], [8, 0], [3, 6], [1, 14]] as const) {
      const link = opened()
      const values = Array.from({ length: held + more + 1 }, (_, n) => segments(filled(20, n), n)[0]!)
      for (const value of values.slice(1, held + 1)) link.handleValue(start, value)
      link.handleTimeout(after(start, LATE_AFTER))
      for (const value of values.slice(held + 1)) {
        link.handleValue(after(start, LATE_AFTER), value)
        link.pollDatagram()
        link.pollValue(start)
      }
      link.handleValue(after(start, LATE_AFTER), values[0]!)
      expect([held, more, link.end]).toEqual([held, more, undefined])
    }
  })

  test('credit that a later one has overtaken says nothing', () => {
    const link = opened()
    link.send(start, filled(900, 1))
    drain(link)
    link.handleValue(start, encodeCredit(4))
    link.handleValue(start, encodeCredit(2))
    expect(link.end).toBeUndefined()
    link.handleValue(start, encodeCredit(1000))
    expect(link.end).toBe('flow')
  })

  test('while two whole datagrams wait for a reader that rests, no credit is given', () => {
    const link = opened()
    link.pause()
    for (let n = 0; n < 16; n++) link.handleValue(start, segments(filled(20, n), n)[0]!)
    expect(drain(link)).toEqual([])
    expect(link.pollDatagram()).toBeUndefined()
    link.resume()
    for (let n = 0; n < 15; n++) expect(link.pollDatagram()).toEqual(filled(20, n))
    expect(drain(link)).toEqual([encodeCredit(16)])
  })
})

describe('sending', () => {
  test('an urgent datagram waits for no more than is in the controller and one datagram', () => {
    const link = opened(517)
    expect(link.writable).toBe(true)
    link.send(start, filled(1024, 1))
    expect(link.writable).toBe(false)
    expect(link.pollValue(start)).toBeDefined()
    expect(link.pollValue(start)).toBeDefined()
    expect(link.pollValue(start)).toBeUndefined()
    expect(link.writable).toBe(false)
    link.handleSent(start, 1)
    expect(link.writable).toBe(true)
  })

  test('data stops at the credit of the other side and goes on with more', () => {
    const link = opened(185, 4)
    link.confirm()
    link.send(start, filled(1200, 1))
    link.send(start, filled(1200, 2))
    expect(drain(link)).toHaveLength(4)
    link.handleValue(start, encodeCredit(2))
    expect(drain(link)).toHaveLength(2)
    link.handleTimeout(at(4))
    link.handleValue(at(4), encodeCredit(3))
    expect(drain(link, at(4))).toHaveLength(1)
    link.handleTimeout(at(8))
    expect(link.end).toBeUndefined()
    link.handleTimeout(at(9))
    expect(link.end).toBe('credit_timeout')
  })

  test('credit beyond the 31 that sequence numbers can tell apart is not used', () => {
    const link = opened(23, 60_000)
    link.send(start, filled(1200, 1))
    expect(drain(link)).toHaveLength(31)
  })

  test('the MTU may change between two segments', () => {
    const a = opened(23)
    const b = opened(517)
    a.send(start, filled(600, 5))
    const first = a.pollValue(start)!
    a.handleSent(start, 1)
    a.setMtu(517)
    for (const value of [first, ...drain(a)]) b.handleValue(start, value)
    expect(first).toHaveLength(20)
    expect(b.pollDatagram()).toEqual(filled(600, 5))
  })

  test('what does not fit is refused: too long for the other side, more than waits, a link that is no longer open', () => {
    const link = opened(185, 16, 512)
    expect(link.send(start, filled(513, 1))).toBe('too-large')
    for (let n = 0; n < 256; n++) expect(link.send(start, filled(512, n))).toBe('queued')
    expect(link.send(start, filled(20, 1))).toBe('full')
    expect(link.unsentBytes).toBe(limits.queueBytesMax)
    link.pollValue(start)
    expect(link.unsentBytes).toBe(limits.queueBytesMax - 179)
    const small = opened()
    for (let n = 0; n < limits.queueMax; n++) expect(small.send(start, filled(20, n))).toBe('queued')
    expect(small.send(start, filled(20, 1))).toBe('full')
    link.close(start, 'done')
    expect(link.send(start, filled(20, 1))).toBe('closed')
  })

  test('closing sends what waits and BYE after it', () => {
    const link = opened()
    link.send(start, filled(40, 1))
    link.close(start, 'stopping')
    const values = drain(link)
    expect(values.map((value) => decodeBleValue(value).kind)).toEqual(['data', 'bye'])
    expect(link.ended).toBe('local')
  })
})

describe('timeouts', () => {
  test('no HELLO in 5 s, no session in 10 s, nothing taken by the controller in 10 s', () => {
    const silent = new BleLink(start, 185, limits, NONCE)
    expect(silent.nextTimeout()).toBe(at(5))
    silent.handleTimeout(at(5))
    expect(silent.end).toBe('hello_timeout')
    // A controller that takes nothing: BYE is given up after a second.
    silent.pollValue(at(5))
    silent.handleTimeout(at(6))
    expect(silent.ended).toBe('hello_timeout')
    expect(silent.nextTimeout()).toBe(never)

    const stranger = opened()
    expect(stranger.nextTimeout()).toBe(at(10))
    stranger.handleTimeout(at(10))
    expect(stranger.end).toBe('confirm_timeout')

    const stuck = opened()
    stuck.confirm()
    expect(stuck.nextTimeout()).toBe(never)
    stuck.send(start, filled(20, 1))
    stuck.pollValue(start)
    stuck.handleTimeout(at(10))
    expect(stuck.ended).toBe('stalled')
  })
})
