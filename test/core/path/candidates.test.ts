import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress, parseAddress } from '../../../src/core/base/address.ts'
import { second, toInstant } from '../../../src/core/base/time.ts'
import { mayAskAt, ownCandidate, PeerCandidates, sameCandidates } from '../../../src/core/path/candidates.ts'
import { ProbeBudget } from '../../../src/core/path/probe-budget.ts'
import { Remotes, REMOTES_MAX } from '../../../src/core/path/remotes.ts'
import type { Candidate, CandidateKind } from '../../../src/core/wire/candidates-frame.ts'

const at = (seconds: number): ReturnType<typeof toInstant> => toInstant(seconds * second)
const of = (kind: CandidateKind, text: string, change: Partial<Candidate> = {}): Candidate => ({ ...ownCandidate(kind, parseAddress(text)!), ...change })
const ours = [of('host', '192.168.1.7:7000'), of('host', '[fd00:1::7]:7000'), of('reflexive', '203.0.113.7:4000')]

describe('where a peer may have datagrams sent to', () => {
  it.each([
    ['8.8.8.8:7000', true], ['8.8.8.8:443', true], ['8.8.8.8:3478', true], ['8.8.8.8:53', false], ['8.8.8.8:0', false], ['[2001:db8::1]:7000', true],
    ['127.0.0.1:7000', false], ['[::1]:7000', false], ['224.0.0.251:5353', false], ['255.255.255.255:7000', false], ['0.0.0.0:7000', false], ['169.254.1.1:7000', false], ['[fe80::1]:7000', false], ['[ff02::1]:7000', false],
    ['192.168.1.9:7000', true], ['192.168.2.9:7000', false], ['10.0.0.1:7000', false], ['100.64.0.1:7000', false], ['[fd00:1::9]:7000', true], ['[fd00:2::9]:7000', false],
    ['192.168.1.7:7000', false], ['203.0.113.7:4000', false], ['203.0.113.7:4001', true],
  ])('%s: %s', (text, allowed) => {
    expect(mayAskAt(parseAddress(text)!, [], ours)).toBe(allowed)
  })

  it('behind the same outside address private ones are near', () => {
    expect(mayAskAt(parseAddress('10.0.0.1:7000')!, [of('reflexive', '203.0.113.7:9')], ours)).toBe(true)
    expect(mayAskAt(parseAddress('10.0.0.1:7000')!, [of('reflexive', '203.0.113.8:9')], ours)).toBe(false)
  })

  it('the best first, what still holds, 16 at most, no TCP ports, and the newest list only', () => {
    const peer = new PeerCandidates()
    const list = [of('reflexive', '198.51.100.1:1500'), of('host', '198.51.100.2:1500'), of('tcp-host', '198.51.100.3:1500'), of('mapped', '198.51.100.4:1500', { ttlS: 10 }), of('host', '127.0.0.1:1500')]
    expect([peer.take(at(0), 2, list), peer.take(at(0), 2, []), peer.take(at(0), 1, [])]).toEqual([true, false, false])
    expect(peer.asked(at(5), ours).map((address) => formatAddress(address))).toEqual(['198.51.100.2:1500', '198.51.100.4:1500', '198.51.100.1:1500'])
    expect(peer.asked(at(10), ours).map((address) => formatAddress(address))).toEqual(['198.51.100.2:1500', '198.51.100.1:1500'])
    expect([peer.take(at(1), 3, Array.from({ length: 32 }, (_, i) => of('host', `198.51.100.${i + 1}:1500`))), peer.asked(at(1), ours).length]).toEqual([true, 16])
    expect([peer.take(at(2), 4, []), peer.asked(at(2), ours)]).toEqual([true, []])
  })

  it('our own list has the priorities of the specification', () => {
    expect([of('host', '1.1.1.1:1500').priority, of('host', '[2001:db8::1]:1500').priority, of('reflexive', '1.1.1.1:1500').priority, of('mapped', '1.1.1.1:1500').priority]).toEqual([200, 210, 160, 180])
    expect([sameCandidates(ours, [...ours]), sameCandidates(ours, ours.slice(1)), sameCandidates(ours.slice(0, 1), [of('mapped', '192.168.1.7:7000')])]).toEqual([true, false, false])
  })
})

it('one network is asked 20 times a second by all sessions together', () => {
  const budget = new ProbeBudget()
  const victim = (i: number): Uint8Array => encodeAddress(`198.51.100.${i}`, 1500)!
  expect(Array.from({ length: 25 }, (_, i) => budget.take(at(1), victim(i))).filter(Boolean).length).toBe(20)
  expect([budget.take(at(1.5), victim(1)), budget.take(at(1.5), encodeAddress('198.51.101.1', 1500)!), budget.take(at(2), victim(1))]).toEqual([false, true, true])
  const six = new ProbeBudget()
  expect(Array.from({ length: 25 }, (_, i) => six.take(at(1), encodeAddress(`2001:db8:1:${i}::1`, 1500)!)).filter(Boolean).length).toBe(20)
  const many = new ProbeBudget()
  let asked = 0
  for (let i = 0; i < 2000; i++) if (many.take(at(1), encodeAddress(`11.${i >> 8}.${i & 255}.1`, 1500)!)) asked++
  expect(asked).toBe(1024)
})

it('an address that is only named takes no place of one that answered', () => {
  const remotes = new Remotes()
  for (let i = 0; i < REMOTES_MAX; i++) remotes.add(encodeAddress('192.0.2.1', 1000 + i)!, i > 0)
  remotes.offer(encodeAddress('192.0.2.9', 1)!)
  remotes.offer(encodeAddress('192.0.2.9', 2)!)
  expect([remotes.all.length, remotes.all.filter(({ proven }) => proven).length, remotes.find(encodeAddress('192.0.2.9', 2)!) !== undefined, remotes.find(encodeAddress('192.0.2.9', 1)!)]).toEqual([REMOTES_MAX, REMOTES_MAX - 1, true, undefined])
  for (const remote of remotes.all) remote.proven = true
  remotes.offer(encodeAddress('192.0.2.9', 3)!)
  expect(remotes.find(encodeAddress('192.0.2.9', 3)!)).toBeUndefined()
})
