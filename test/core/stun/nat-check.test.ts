import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress, portOf } from '../../../src/core/base/address.ts'
import type { LinkId } from '../../../src/core/base/domain.ts'
import { toInstant, toWallTime, type Now } from '../../../src/core/base/time.ts'
import { natWord, mappingBySeveral, type FilteringClass, type MappingClass, type NatWord } from '../../../src/core/stun/nat-classes.ts'
import { NatCheck, type NatCheckResult } from '../../../src/core/stun/nat-check.ts'
import { decodeChangeRequest, encodeErrorCode, encodeStunAddress, encodeXorAddress } from '../../../src/core/wire/stun-attributes.ts'
import { decodeStun, encodeStun, findAttribute, stunAttribute } from '../../../src/core/wire/stun.ts'
import { hostOf, Nat, withPort, type NatModel } from '../../../src/sim/nat.ts'
import { node } from '../../support/providers.ts'

const A = 1 as LinkId
const B = 2 as LinkId
const inside = encodeAddress('10.1.0.2', 40_000)!
const second = encodeAddress('10.1.0.2', 40_001)!
const outside = encodeAddress('203.0.113.1', 0)!
const primary = encodeAddress('192.0.2.1', 3478)!
const alternate = encodeAddress('192.0.2.2', 3479)!

interface Scene {
  /** None: the machine has the address it is seen at. */
  readonly nat?: NatModel
  /** Without NAT: a firewall that lets in as this filters. */
  readonly firewall?: NatModel['filtering']
  /** Hosts that answer, and whether they speak RFC 5780. */
  readonly plain?: readonly string[]
  readonly behaviour?: boolean
  /** The server's other address is unreachable. */
  readonly brokenAlternate?: boolean
  readonly lossOfFirst?: number
}

/** The check against a server of RFC 5780 at 192.0.2.1 and .2 (and plain ones), behind a NAT that never forgets; all in virtual time. */
function check({ nat: model, firewall, plain = [], behaviour = true, brokenAlternate = false, lossOfFirst = 0 }: Scene): NatCheckResult & { readonly seconds: number } {
  let mono = 0
  const now = (): Now => ({ mono: toInstant(mono), wall: toWallTime(0) })
  const nat = model === undefined ? undefined : new Nat(model, outside)
  const sentTo: Uint8Array[] = []
  const arriving: { at: number; link: LinkId; from: Uint8Array; bytes: Uint8Array }[] = []
  let sends = 0
  const passesFirewall = (from: Uint8Array): boolean => firewall === undefined || firewall === 'endpoint-independent'
    || sentTo.some((known) => (firewall === 'address-dependent' ? hostOf(known) === hostOf(from) : formatAddress(known) === formatAddress(from)))
  const deliver = (from: Uint8Array, to: Uint8Array, bytes: Uint8Array): void => {
    const target = nat === undefined ? (passesFirewall(from) ? to : undefined) : nat.in(from, to)
    if (target !== undefined) arriving.push({ at: mono + 20_000, link: portOf(target) === portOf(inside) ? A : B, from, bytes })
  }
  const send = (link: LinkId, to: Uint8Array, bytes: Uint8Array): void => {
    const from = link === A ? inside : second
    sentTo.push(to)
    const seen = nat === undefined ? from : nat.out(from, to)!
    if (++sends <= lossOfFirst) return
    if (nat?.owns(to) === true) {
      if (nat.turns(to)) deliver(seen, to, bytes)
      return
    }
    serve(seen, to, bytes)
  }
  const serve = (seen: Uint8Array, to: Uint8Array, bytes: Uint8Array): void => {
    const own = [hostOf(primary), ...(brokenAlternate ? [] : [hostOf(alternate)])].includes(hostOf(to)) && [3478, 3479].includes(portOf(to))
    if (!own && !plain.includes(hostOf(to))) return
    const request = decodeStun(bytes)
    if (request.kind !== 'stun') throw new Error('no STUN')
    const { transactionId } = request
    const changeValue = findAttribute(request, stunAttribute.changeRequest)
    const change = changeValue === undefined ? undefined : decodeChangeRequest(changeValue)
    if (change !== undefined && !behaviour) return
    const [otherHost, otherPort] = [hostOf(to) === hostOf(primary) ? alternate : primary, portOf(to) === 3478 ? 3479 : 3478]
    const from = withPort(change?.ip === true ? otherHost : to, change?.port === true ? otherPort : portOf(to))
    if (brokenAlternate && hostOf(from) === hostOf(alternate)) return
    const attributes: [number, Uint8Array][] = [[stunAttribute.xorMappedAddress, encodeXorAddress(seen, transactionId)]]
    if (own && behaviour) attributes.push([stunAttribute.otherAddress, encodeStunAddress(withPort(otherHost, otherPort))])
    deliver(from, seen, encodeStun(node, { class: 'success', transactionId, attributes }))
  }
  const names = behaviour || plain.length === 0 ? [primary] : []
  const check_ = new NatCheck({
    provider: node, unit: () => 0.5, send, count: () => undefined, links: [A, B], locals: [inside],
    servers: [...names, ...plain.map((host) => encodeAddress(host.split(':')[0]!, 3478)!)].map((address) => ({ name: formatAddress(address), address })),
  })
  check_.start(now())
  for (let guard = 0; !check_.done && guard < 1000; guard++) {
    arriving.sort((a, b) => a.at - b.at)
    const next = arriving[0]
    if (next !== undefined && next.at <= check_.nextTimeout()) {
      arriving.shift()
      mono = next.at
      check_.handleDatagram(now(), next.link, next.from, next.bytes)
    } else {
      mono = check_.nextTimeout()
      check_.handleTimeout(now())
    }
  }
  expect(check_.done).toBe(true)
  return { ...check_.result, seconds: mono / 1e6 }
}

const behaviours = ['endpoint-independent', 'address-dependent', 'address-and-port-dependent'] as const

describe('NAT behaviour by RFC 5780', () => {
  for (const mapping of behaviours) for (const filtering of behaviours) {
    it(`names ${mapping} mapping with ${filtering} filtering`, () => {
      expect(check({ nat: { mapping, filtering } })).toMatchObject({ mapping, filtering, by: '192.0.2.1:3478', hairpin: false, portKept: false })
    })
  }

  it.each<[NatModel['filtering'], NatWord]>([['endpoint-independent', 'open'], ['address-dependent', 'firewall'], ['address-and-port-dependent', 'firewall']])('without a NAT, %s filtering is called %s', (firewall, word) => {
    expect(check({ firewall })).toMatchObject({ mapping: 'none', filtering: firewall, word, portKept: true })
  })

  it.each(behaviours)('finds hairpinning with %s filtering', (filtering) => {
    expect(check({ nat: { mapping: 'endpoint-independent', filtering, hairpin: true } }).hairpin).toBe(true)
  })

  it('loses its first datagrams and says the same, and is done within seconds', () => {
    const found = check({ nat: { mapping: 'endpoint-independent', filtering: 'address-and-port-dependent' }, lossOfFirst: 2 })
    expect(found).toMatchObject({ mapping: 'endpoint-independent', filtering: 'address-and-port-dependent' })
    expect(found.seconds).toBeLessThan(9)
    expect(check({ nat: { mapping: 'endpoint-independent', filtering: 'endpoint-independent', hairpin: true } }).seconds).toBeLessThan(0.2)
  })

  it('servers without RFC 5780 tell the mapping between them, and nothing of filtering', () => {
    const plain = ['198.51.100.1:0', '198.51.100.2:0']
    expect(check({ nat: { mapping: 'endpoint-independent', filtering: 'address-dependent' }, plain, behaviour: false })).toMatchObject({ mapping: 'endpoint-independent', filtering: 'unknown', word: 'cone', by: undefined })
    expect(check({ nat: { mapping: 'address-dependent', filtering: 'address-dependent' }, plain, behaviour: false })).toMatchObject({ mapping: 'dependent', filtering: 'unknown', word: 'symmetric' })
    expect(check({ nat: { mapping: 'address-dependent', filtering: 'address-dependent' }, plain: plain.slice(1), behaviour: false })).toMatchObject({ mapping: 'unknown', word: 'unknown' })
  })

  it('silence of a server whose other address is gone is not taken for a filter', () => {
    expect(check({ nat: { mapping: 'endpoint-independent', filtering: 'endpoint-independent' }, brokenAlternate: true })).toMatchObject({ mapping: 'unknown', filtering: 'unknown', mapped: encodeAddress('203.0.113.1', 50_000)! })
  })

  it('with nobody answering it is done and knows nothing', () => {
    const found = check({ nat: { mapping: 'endpoint-independent', filtering: 'address-and-port-dependent' }, lossOfFirst: 100 })
    expect(found).toMatchObject({ mapped: undefined, mapping: 'unknown', filtering: 'unknown', word: 'unknown', hairpin: undefined, servers: [{ outcome: 'silent' }] })
    expect(found.seconds).toBe(3.5)
  })

  it('errors and unreachable servers are said', () => {
    let datagram = new Uint8Array(0)
    const check_ = new NatCheck({
      provider: node, unit: () => 0.5, count: () => undefined, links: [A, B], locals: [inside], send: (_link, to, bytes) => { if (hostOf(to) === hostOf(primary)) datagram = bytes as Uint8Array<ArrayBuffer> },
      servers: [{ name: 'one', address: primary }, { name: 'two', address: alternate }],
    })
    const now: Now = { mono: toInstant(0), wall: toWallTime(0) }
    check_.start(now)
    check_.handleRefused(now, A, alternate)
    check_.handleDatagram(now, A, primary, encodeStun(node, { class: 'error', transactionId: datagram.slice(8, 20), attributes: [[stunAttribute.errorCode, encodeErrorCode({ code: 401, reason: 'no' })]] }))
    expect([check_.done, check_.result.servers.map(({ outcome }) => outcome)]).toEqual([true, ['refused', 'unreachable']])
    const none = new NatCheck({ provider: node, unit: () => 0.5, count: () => undefined, links: [A, B], locals: [], send: () => undefined, servers: [] })
    none.start(now)
    expect([none.done, none.result.mapping]).toEqual([true, 'unknown'])
  })
})

it('the common words', () => {
  const words: [MappingClass, FilteringClass, NatWord][] = [
    ['endpoint-independent', 'endpoint-independent', 'full cone'], ['endpoint-independent', 'address-dependent', 'restricted cone'], ['endpoint-independent', 'address-and-port-dependent', 'port-restricted cone'],
    ['endpoint-independent', 'unknown', 'cone'], ['address-dependent', 'endpoint-independent', 'symmetric'], ['address-and-port-dependent', 'unknown', 'symmetric'], ['dependent', 'unknown', 'symmetric'],
    ['none', 'unknown', 'unknown'], ['unknown', 'endpoint-independent', 'unknown'],
  ]
  for (const [mapping, filtering, word] of words) expect(natWord({ mapping, filtering }), `${mapping} ${filtering}`).toBe(word)
  expect(mappingBySeveral([])).toBe('unknown')
})
