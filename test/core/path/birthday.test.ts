import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress, portOf } from '../../../src/core/base/address.ts'
import { minute, never, second, toInstant } from '../../../src/core/base/time.ts'
import { birthdayRole, Freshening, guessAt, GuessBudget, Guesses, mayMeetAt, meetingPoint } from '../../../src/core/path/birthday.ts'
import { ownCandidate } from '../../../src/core/path/candidates.ts'

const address = (host: string, port = 7000): Uint8Array => encodeAddress(host, port)!
const at = (seconds: number): ReturnType<typeof toInstant> => toInstant(seconds * second)

describe('a round of guessing', () => {
  it('has one hard side and one easy side, or is none', () => {
    expect([birthdayRole(true, false), birthdayRole(false, true), birthdayRole(true, true), birthdayRole(false, false)]).toEqual(['hard', 'easy', undefined, undefined])
  })

  it('is about the last IPv4 address of the public net', () => {
    const told = ['10.0.0.1', '203.0.113.1', '2001:db8::1', '198.51.100.7', '192.168.1.1', '100.64.0.1'].map((host) => address(host))
    expect(formatAddress(meetingPoint(told)!)).toBe('198.51.100.7:7000')
    expect([meetingPoint([]), meetingPoint([address('10.0.0.1'), address('2001:db8::1')])]).toEqual([undefined, undefined])
  })

  it('goes to no privileged port, no special address and not to our own router', () => {
    const ours = [ownCandidate('reflexive', address('203.0.113.9', 4000))]
    expect([7000, 443, 3478, 1024].map((port) => mayMeetAt(address('198.51.100.7', port), ours))).toEqual([true, true, true, true])
    expect([25, 53, 1023, 0].map((port) => mayMeetAt(address('198.51.100.7', port), ours))).toEqual([false, false, false, false])
    for (const host of ['203.0.113.9', '10.0.0.1', '127.0.0.1', '224.0.0.1', '169.254.0.1', '100.64.0.1', '0.0.0.0']) expect(mayMeetAt(address(host), ours), host).toBe(false)
  })

  it('guesses every port from 1024 on, and none below', () => {
    const host = address('198.51.100.7', 9)
    expect([0, 0.5, 1 - Number.EPSILON].map((unit) => portOf(guessAt(host, unit)))).toEqual([1024, 33_280, 65_535])
    fc.assert(fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (unit) => {
      const port = portOf(guessAt(host, unit))
      expect(port >= 1024 && port <= 65_535).toBe(true)
    }))
    expect(portOf(host)).toBe(9)
  })

  it('guesses 50 times a second for 35 s, then ten times, and makes up for little that is late', () => {
    const guesses = new Guesses(at(0))
    let sent = 0
    for (let time = 0; time < 35_000; time += 5) sent += guesses.take(toInstant(time * 1000))
    expect(sent).toBe(1750)
    for (let time = 35_000; time < 45_000; time += 5) sent += guesses.take(toInstant(time * 1000))
    expect(sent - 1750).toBeGreaterThanOrEqual(99)
    expect(sent - 1750).toBeLessThanOrEqual(101)
    const late = new Guesses(at(0))
    expect([late.take(at(0)), late.take(at(10)), late.take(at(10)), late.nextAt]).toEqual([1, 4, 0, at(10.02)])
  })

  it('has each socket send again after 10 s, later after 25, sixteen at once', () => {
    const ring = new Freshening<number>(at(0))
    expect(ring.nextAt(at(0))).toBe(never)
    for (let socket = 0; socket < 40; socket++) ring.add(socket, at(0))
    expect([ring.take(at(9.9)), ring.nextAt(at(9.9))]).toEqual([[], at(10)])
    expect(ring.take(at(10))).toEqual(Array.from({ length: 16 }, (_, i) => i))
    expect([ring.take(at(10)), ring.nextAt(at(10))]).toEqual([[], at(10.01)])
    ring.remove(17)
    expect(ring.take(at(10.01))).toEqual([16, ...Array.from({ length: 15 }, (_, i) => 18 + i)])
    expect([ring.take(at(10.02)).length, ring.size, ring.nextAt(at(10.02))]).toEqual([7, 39, at(20)])
    for (let i = 0; i < 5; i++) ring.take(toInstant(40 * second + i * 20_000))
    expect(ring.nextAt(at(41))).toBe(at(65))
  })
})

describe('the budget of guessing', () => {
  it('is 1750 an hour for a host, 20,000 where a person asked for it, over all ports', () => {
    const budget = new GuessBudget()
    const take = (time: number, byHand: boolean): boolean => budget.take(at(time), address('198.51.100.7', 1024 + Math.floor(time)), byHand)
    let sent = 0
    for (let i = 0; i < 3000; i++) if (take(i / 100, false)) sent++
    expect(sent).toBe(1750)
    for (let i = 0; i < 30_000; i++) if (take(100, true)) sent++
    expect(sent).toBe(20_000)
    expect([take(3599, true), take(3600, false)]).toEqual([false, true])
  })

  it('counts 256 hosts, and nobody else is sent to while they have their hour', () => {
    const budget = new GuessBudget()
    const host = (i: number): Uint8Array => address(`198.51.${i >> 8}.${i & 255}`)
    for (let i = 0; i < 256; i++) expect(budget.take(at(i / 10), host(i), false)).toBe(true)
    expect([budget.take(at(60), host(256), true), budget.take(toInstant(61 * minute), host(256), false)]).toEqual([false, true])
  })
})
