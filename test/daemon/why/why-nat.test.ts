import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import { toWallTime } from '../../../src/core/base/time.ts'
import type { PeerWhy, WhyPath } from '../../../src/core/endpoint/why-contract.ts'
import { ownCandidate } from '../../../src/core/path/candidates.ts'
import { anyPath } from '../../../src/core/path/path-policy.ts'
import { filteringClasses, mappingClasses, natWord, type FilteringClass, type MappingClass } from '../../../src/core/stun/nat-classes.ts'
import type { IpcNat, IpcPortMapping } from '../../../src/core/wire/ipc/ipc-nat.ts'
import { natInfo, natsOf, outlookOf, peerNat, unknownNat } from '../../../src/daemon/why/why-nat.ts'
import { PAIRS_MAX, pairsOf } from '../../../src/daemon/why/why-pairs.ts'
import { remediesFor, type RemedyFacts } from '../../../src/daemon/why/why-remedies.ts'
import { whyDocument } from '../../../src/daemon/why/why.ts'
import { nothingOutside } from '../../support/outside.ts'

const NOW = toWallTime(1_770_000_000_000)
const at = (host: string, port = 7000): Uint8Array => encodeAddress(host, port)!

const nothing: PeerWhy = {
  id: new Uint8Array(32), name: 'anna', inRoster: true, state: 'unreachable', since: NOW, policy: anyPath, policyFrom: 'config', udp: true, tcp: true, mapping: 'unknown', whereabouts: undefined, birthday: undefined, own: [], told: [],
  addresses: [], paths: [], asked: [], dial: undefined, attempts: [], decisions: [],
}

function path(address: Uint8Array, more: Partial<WhyPath> = {}): WhyPath {
  return {
    kind: 'udp', address, standing: 'proven', rtt: 1000, loss: 0, active: true, allowed: true, dialed: false, probing: false, openedAt: NOW, takenAt: NOW, rule: 'first', provenAt: NOW, datagramSize: 1181,
    silent: undefined, sent: 1, lost: 0, ...more,
  }
}

const told = (kind: 'host' | 'reflexive' | 'mapped' | 'tcp-host', address: Uint8Array, mayAsk = true): PeerWhy['told'][number] => ({ candidate: ownCandidate(kind, address), mayAsk })
const nat = (mapping: MappingClass, filtering: FilteringClass): IpcNat => natInfo({ mapping, filtering }, 'netcheck')

const routers = {
  none: nat('none', 'endpoint-independent'), full: nat('endpoint-independent', 'endpoint-independent'), addr: nat('endpoint-independent', 'address-dependent'),
  port: nat('endpoint-independent', 'address-and-port-dependent'), sym: nat('address-and-port-dependent', 'address-and-port-dependent'),
}

describe('whether two meet', () => {
  it.each([
    ['full', 'full', 'plain'], ['full', 'sym', 'plain'], ['none', 'sym', 'plain'], ['addr', 'port', 'plain'], ['port', 'port', 'plain'], ['addr', 'sym', 'plain'], ['port', 'sym', 'guess'], ['sym', 'sym', 'never'],
  ] as const)('%s with %s: %s', (one, other, outlook) => {
    expect(outlookOf(routers[one], routers[other])).toBe(outlook)
    expect(outlookOf(routers[other], routers[one])).toBe(outlook)
  })

  it('is the same from both sides, and never known of two of whom nothing is known', () => {
    for (const mapping of mappingClasses) for (const filtering of filteringClasses) for (const theirs of mappingClasses) for (const filter of filteringClasses) {
      const [a, b] = [nat(mapping, filtering), nat(theirs, filter)]
      expect(outlookOf(a, b)).toBe(outlookOf(b, a))
    }
    expect(outlookOf(unknownNat, unknownNat)).toBe('unknown')
    expect(outlookOf(unknownNat, routers.sym)).toBe('unknown')
    expect(outlookOf(unknownNat, routers.full)).toBe('plain')
  })
})

describe('the NAT before the peer', () => {
  const seen = at('203.0.113.9', 41_000)

  it.each([
    ['its own address', [told('host', seen)], 'none', 'seen'],
    ['where a server sees it', [told('host', at('192.168.1.5')), told('reflexive', seen)], 'endpoint-independent', 'seen'],
    ['another port of the same host', [told('reflexive', at('203.0.113.9', 40_123))], 'dependent', 'seen'],
    ['a port of its router', [told('mapped', seen), told('reflexive', at('203.0.113.9', 40_123))], 'unknown', 'none'],
    ['nothing that it told', [told('reflexive', at('198.51.100.1', 41_000))], 'unknown', 'none'],
  ] as const)('seen at %s', (_, list, mapping, from) => {
    expect(peerNat({ told: list, paths: [path(seen)], whereabouts: undefined })).toMatchObject({ mapping, from })
  })

  it('is what it says where it is seen nowhere', () => {
    expect(peerNat({ told: [], paths: [], whereabouts: { hard: true, addresses: [] } })).toMatchObject({ mapping: 'dependent', word: 'symmetric', from: 'told' })
    // Not hard, or it does not know.
    expect(peerNat({ told: [], paths: [], whereabouts: { hard: false, addresses: [] } })).toEqual(unknownNat)
  })

  it('is not read from a path that has not answered, nor from TCP', () => {
    for (const other of [path(seen, { standing: 'asked' }), path(seen, { provenAt: undefined }), path(seen, { kind: 'tcp' })]) {
      expect(peerNat({ told: [told('reflexive', seen)], paths: [other], whereabouts: undefined })).toEqual(unknownNat)
    }
  })
})

describe('pairs of addresses', () => {
  const own = [ownCandidate('host', at('192.168.1.2')), ownCandidate('reflexive', at('198.51.100.7', 50_000)), ownCandidate('host', at('2001:db8::2'))]

  it('name what the peer would see of us: the interface of the same network, or what is outside of our router', () => {
    const why = { ...nothing, tcp: false, own, told: [told('host', at('192.168.1.9')), told('reflexive', at('203.0.113.9')), told('host', at('2001:db8:1::9')), told('host', at('10.0.0.9'), false)] }
    expect(pairsOf(why).map(({ ours, theirs, result }) => [ours?.type, ours?.address, theirs.type, theirs.address, result])).toEqual([
      ['host', '192.168.1.2:7000', 'host', '192.168.1.9:7000', 'not_tried'],
      ['reflexive', '198.51.100.7:50000', 'reflexive', '203.0.113.9:7000', 'not_tried'],
      ['host', '[2001:db8::2]:7000', 'host', '[2001:db8:1::9]:7000', 'not_tried'],
      ['host', '192.168.1.2:7000', 'host', '10.0.0.9:7000', 'not_asked'],
    ])
    expect(pairsOf({ ...nothing, tcp: false, own: [], addresses: [at('203.0.113.9')] })[0]).toEqual({ kind: 'udp', theirs: { address: '203.0.113.9:7000', type: 'known' }, result: 'not_tried', count: 0 })
  })

  it('show each address once for each kind of path, with the last word', () => {
    const there = at('203.0.113.9')
    const why: PeerWhy = {
      ...nothing, own, addresses: [there, at('203.0.113.10')], told: [told('reflexive', there), told('tcp-host', there)],
      paths: [path(there, { kind: 'tcp', provenAt: toWallTime(NOW - 2000) })],
      asked: [{ address: there, proven: true, probes: 7, refused: undefined, rest: undefined }],
      attempts: [
        { transport: 'udp', address: there, cause: 'dial', count: 3, firstAt: NOW, lastAt: NOW, result: 'answered', resultAt: toWallTime(NOW - 60_000) },
        { transport: 'udp', address: at('203.0.113.10'), cause: 'dial', count: 4, firstAt: NOW, lastAt: NOW, result: 'no_answer', resultAt: toWallTime(NOW - 50_000) },
      ],
    }
    expect(pairsOf(why).map(({ kind, theirs, result, count, at: time }) => [kind, theirs.address, theirs.type, result, count, time === undefined ? undefined : NOW - time])).toEqual([
      ['tcp', '203.0.113.9:7000', 'tcp-host', 'in_use', 0, 2000],
      ['udp', '203.0.113.9:7000', 'reflexive', 'no_answer', 10, 60_000],
      ['udp', '203.0.113.10:7000', 'known', 'no_answer', 4, 50_000],
      ['tcp', '203.0.113.10:7000', 'known', 'not_tried', 0, undefined],
    ])
  })

  it('say what the policy forbids, what the system refuses and what rests', () => {
    const [one, other] = [at('203.0.113.9'), at('203.0.113.10')]
    const why: PeerWhy = {
      ...nothing, tcp: false, addresses: [at('203.0.113.11')], policy: { ...anyPath, never: ['udp'] },
      asked: [{ address: one, proven: true, probes: 1, refused: 'forbidden', rest: undefined }, { address: other, proven: true, probes: 0, refused: undefined, rest: 1000 }],
    }
    expect(pairsOf(why).map(({ result }) => result)).toEqual(['forbidden', 'quarantined', 'policy'])
  })

  it('are bounded, and those that say something stay', () => {
    const many = Array.from({ length: 200 }, (_, i) => at('203.0.113.9', 10_000 + i))
    const why: PeerWhy = { ...nothing, addresses: many, attempts: [{ transport: 'udp', address: many[199]!, cause: 'dial', count: 1, firstAt: NOW, lastAt: NOW, result: 'refused', resultAt: NOW }] }
    const pairs = pairsOf(why)
    expect(pairs).toHaveLength(PAIRS_MAX)
    expect(pairs[0]).toMatchObject({ result: 'refused' })
  })
})

describe('guessing that is turned off', () => {
  it('is said, and nothing is hoped of it', () => {
    const hard: PeerWhy = { ...nothing, whereabouts: { hard: true, addresses: [at('203.0.113.9')] } }
    const ours = { ...routers.port, servers: 'answer', ipv6: false } as const
    expect(natsOf(hard, ours)).toMatchObject({ outlook: 'guess' })
    const off = natsOf(hard, ours, false)
    expect(off.outlook).toBe('never')
    expect(off.text).toContain('guess_ports = false')
  })
})

describe('what would help', () => {
  const none: IpcPortMapping = { state: 'none', mapped: [], router: '192.168.1.1', reason: 'silent' }
  const facts = (ours: IpcNat, theirs: IpcNat, more: Partial<RemedyFacts> = {}, ipv6: readonly [boolean, boolean] = [false, false]): RemedyFacts => ({
    nat: { ours: { ...ours, servers: 'answer', ipv6: ipv6[0] }, theirs: { ...theirs, ipv6: ipv6[1] }, outlook: outlookOf(ours, theirs), between: true, text: 'No way.' }, portMapping: none, advertises: false, connected: false, otherPeers: 1,
    who: 'anna', ...more,
  })
  const inOneNetwork = (given: RemedyFacts): RemedyFacts => ({ ...given, nat: { ...given.nat, between: false } })
  const words = (given: RemedyFacts): (string | undefined)[] => remediesFor(given).map(({ remedy }) => remedy)

  it('between two symmetric routers names both classes, and every remedy', () => {
    const found = remediesFor(facts(routers.sym, natInfo({ mapping: 'dependent', filtering: 'unknown' }, 'told')))
    expect(found.map(({ remedy }) => remedy)).toEqual(['classes', 'port_mapping', 'forward', 'ipv6', 'public_friend'])
    expect(found[0]!.text).toContain('The router here is symmetric (mapping address-and-port-dependent, filtering address-and-port-dependent), the one of the peer symmetric (another port for each destination).')
    expect(found[1]!.text).toContain('192.168.1.1 does not answer')
    expect(found.every(({ text }) => text.endsWith('.') || text.endsWith(':'))).toBe(true)
  })

  it.each([
    ['guessing', facts(routers.port, routers.sym), ['classes', 'port_mapping', 'forward', 'ipv6', 'both_at_once']],
    ['a port is mapped here already', facts(routers.sym, routers.sym, { portMapping: { state: 'mapped', mapped: [] } }), ['classes', 'ipv6', 'public_friend']],
    ['an address is named in the configuration', facts(routers.sym, routers.sym, { advertises: true }), ['classes', 'ipv6', 'public_friend']],
    ['IPv6 on both sides', facts(routers.sym, routers.sym, {}, [true, true]), ['classes', 'port_mapping', 'forward', 'ipv6_firewall', 'public_friend']],
    ['two ordinary homes', facts(routers.port, routers.port), ['both_at_once']],
    ['nobody to introduce', facts(routers.port, unknownNat, { otherPeers: 0 }), ['both_at_once', 'common_peer']],
    ['one side is open', facts(routers.full, routers.port), []],
    ['one network', inOneNetwork(facts(unknownNat, unknownNat)), []],
    ['TCP does meanwhile', facts(routers.port, routers.port, { connected: true }), []],
  ] as const)('%s', (_, given, expected) => {
    expect(words(given)).toEqual(expected)
  })

  it('says that no server answers', () => {
    const given = facts(unknownNat, unknownNat)
    expect(words({ ...given, nat: { ...given.nat, ours: { ...given.nat.ours, servers: 'silent' } } })).toEqual(['both_at_once', 'servers'])
  })

  it('never names a remedy twice, whatever the facts', () => {
    for (const mapping of mappingClasses) for (const filtering of filteringClasses) for (const theirs of Object.values(routers)) for (const bits of [0, 1, 2, 3]) {
      const found = words(facts(nat(mapping, filtering), theirs, { otherPeers: bits & 1 }, [bits > 1, (bits & 1) === 1]))
      expect(new Set(found).size).toBe(found.length)
      if (outlookOf(nat(mapping, filtering), theirs) === 'never') expect(found[0]).toBe('classes')
      expect(natWord({ mapping, filtering })).not.toBe('')
    }
  })
})

describe('the document', () => {
  it('of a peer behind the same kind of router that was never reached has both classes, pairs, and the remedies before what the addresses answered', () => {
    const why: PeerWhy = {
      ...nothing, addresses: [at('203.0.113.9', 41_000)], whereabouts: { hard: true, addresses: [at('203.0.113.9', 41_000)] },
      attempts: [{ transport: 'udp', address: at('203.0.113.9', 41_000), cause: 'dial', count: 9, firstAt: NOW, lastAt: NOW, result: 'no_answer', resultAt: NOW }],
    }
    const found = whyDocument(why, { ...nothingOutside, nat: { ...routers.sym, servers: 'answer', ipv6: false } }, NOW)
    expect(found.nat).toMatchObject({ ours: { word: 'symmetric', from: 'netcheck' }, theirs: { word: 'symmetric', from: 'told' }, outlook: 'never' })
    expect(found.pairs).toMatchObject([{ kind: 'udp', result: 'no_answer', count: 9 }, { kind: 'tcp', result: 'not_tried' }])
    expect(found.advice.map(({ remedy }) => remedy)).toEqual(['classes', 'port_mapping', 'forward', 'ipv6', 'public_friend', undefined])
    expect(natsOf(why, found.nat.ours)).toEqual(found.nat)
  })

  it('blames no router where something answers', () => {
    const why: PeerWhy = {
      ...nothing, addresses: [at('203.0.113.9')], whereabouts: { hard: true, addresses: [] },
      attempts: [{ transport: 'tcp', address: at('203.0.113.9'), cause: 'unanswered', count: 1, firstAt: NOW, lastAt: NOW, result: 'refused', resultAt: NOW }],
    }
    const found = whyDocument(why, { ...nothingOutside, nat: { ...routers.sym, servers: 'answer', ipv6: false } }, NOW)
    expect(found.advice.flatMap(({ remedy }) => remedy ?? [])).toEqual([])
  })
})
