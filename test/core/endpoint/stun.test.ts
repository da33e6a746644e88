import { beforeEach, describe, expect, it } from 'vitest'
import { formatAddress } from '../../../src/core/base/address.ts'
import { minute, second, toWallTime } from '../../../src/core/base/time.ts'
import type { EndpointEvent } from '../../../src/core/endpoint/contract.ts'
import { encodeErrorCode, encodeStunAddress, encodeXorAddress } from '../../../src/core/wire/stun-attributes.ts'
import { decodeStun, encodeStun, stunAttribute, type StunOptions } from '../../../src/core/wire/stun.ts'
import { repeated } from '../../support/bytes.ts'
import { address, LoneEndpoint, UDP, type Sent } from '../../support/lone-endpoint.ts'
import { node } from '../../support/providers.ts'

const one = address('192.0.2.1', 3478)
const two = address('192.0.2.2', 3478)
const six = address('2001:db8::1', 3478)
const us = address('203.0.113.9', 40_000)

function answerTo(request: Sent, mapped: Uint8Array, options: Partial<StunOptions> = {}): { from: Uint8Array; bytes: Uint8Array } {
  const message = decodeStun(request.bytes)
  if (message.kind !== 'stun') throw new Error('no STUN went out')
  const { transactionId } = message
  return { from: request.to, bytes: encodeStun(node, { class: 'success', transactionId, attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(mapped, transactionId)]], fingerprint: true, ...options }) }
}

describe('reflexive addresses of an endpoint', () => {
  let lone: LoneEndpoint
  const told = (): string[] => lone.events.filter((event): event is Extract<EndpointEvent, { kind: 'reflexive-address' }> => event.kind === 'reflexive-address')
    .map(({ family, address: found, server }) => `${family} ${found === undefined ? 'none' : formatAddress(found)} ${server}`)
  const name = (...servers: readonly (readonly [string, Uint8Array])[]): Sent[] => {
    lone.endpoint.stun.setServers(lone.now, servers.map(([text, at]) => ({ name: text, address: at })))
    return lone.drain()
  }
  const targets = (sent: readonly Sent[]): string[] => sent.map(({ to }) => formatAddress(to))
  const states = (): string[] => lone.endpoint.stun.servers(lone.now).map(({ name: text, state }) => `${text} ${state}`)

  beforeEach(() => {
    lone = new LoneEndpoint({ provider: node, seed: repeated(1) })
  })

  it('nobody is asked before a server is named, nor for how long', () => {
    expect([lone.advance(30 * minute), lone.endpoint.stun.addresses, told()]).toEqual([[], [], []])
  })

  it('the first server of each family is asked over the node\'s own socket, and its answer is told once', () => {
    const sent = name(['one', one], ['two', two], ['six', six])
    expect([targets(sent), sent.every(({ link }) => link === UDP)]).toEqual([['192.0.2.1:3478', '[2001:db8::1]:3478'], true])
    lone.mono += 20_000
    lone.receive(answerTo(sent[0]!, us))
    lone.receive(answerTo(sent[1]!, address('2001:db8:1::2', 7000)))
    expect(told()).toEqual(['4 203.0.113.9:40000 one', '6 [2001:db8:1::2]:7000 six'])
    expect(lone.endpoint.stun.addresses.map(({ family, server }) => [family, server])).toEqual([[4, 'one'], [6, 'six']])
    expect(states()).toEqual(['one answers', 'two unasked', 'six answers'])
    expect(lone.endpoint.stun.servers(lone.now)[0]!.rtt).toBe(20_000)
    // Asked once, but for how the NAT gives out ports: nobody relies on it.
    expect(new Set(targets(lone.advance(10 * minute)))).toEqual(new Set(['192.0.2.2:3478']))
    expect(lone.advance(10 * minute)).toEqual([])
  })

  it('a slow server is not waited for, and its late answer counts as unasked', () => {
    const first = name(['one', one], ['two', two])
    expect(targets(first)).toEqual(['192.0.2.1:3478'])
    const then = lone.advance(0.7 * second)
    expect(targets(then)).toEqual(['192.0.2.1:3478', '192.0.2.2:3478'])
    lone.receive(answerTo(then[1]!, us))
    expect(told()).toEqual(['4 203.0.113.9:40000 two'])
    lone.receive(answerTo(first[0]!, address('203.0.113.66', 1)))
    expect([told().length, lone.counters['drop_stun']]).toEqual([1, 1])
  })

  it('one that refuses, and one the system cannot reach, make way at once', () => {
    const first = name(['one', one], ['two', two])
    lone.receive(answerTo(first[0]!, us, { class: 'error', attributes: [[stunAttribute.errorCode, encodeErrorCode({ code: 500, reason: 'no' })]] }))
    expect([lone.counters['stun_refusals'], lone.counters['stun_requests'], states()[0]]).toEqual([1, 2, 'one silent'])
    lone.endpoint.handleRefused(lone.now, UDP, [two], 'unreachable')
    expect([lone.endpoint.stun.asking, states()]).toEqual([false, ['one silent', 'two unasked']])
  })

  it('with nobody answering it asks ever more rarely, and lets servers rest', () => {
    name(['one', one], ['two', two])
    const perMinute: number[] = []
    for (let i = 0; i < 90; i++) perMinute.push(lone.advance(minute).length)
    expect(told()).toEqual([])
    expect(perMinute.slice(0, 3).reduce((sum, count) => sum + count)).toBeGreaterThanOrEqual(6)
    // Two servers, three datagrams each, every quarter of an hour at most.
    expect(perMinute.slice(60).reduce((sum, count) => sum + count)).toBeLessThanOrEqual(18)
    expect(states().every((state) => state.endsWith('resting') || state.endsWith('silent'))).toBe(true)
  })

  it('a change of the network asks everybody anew, and tells the new address', () => {
    const first = name(['one', one])
    lone.mono += 20_000
    lone.receive(answerTo(first[0]!, us))
    lone.endpoint.stun.networkChanged(lone.now)
    const again = lone.advance(0.25 * second)
    expect(targets(again)).toEqual(['192.0.2.1:3478'])
    lone.receive(answerTo(again[0]!, address('198.51.100.7', 5)))
    expect(told()).toEqual(['4 203.0.113.9:40000 one', '4 198.51.100.7:5 one'])
    // A network without a way out: it is not known any more.
    lone.endpoint.stun.networkChanged(lone.now)
    lone.advance(5 * second)
    expect([told().at(-1), lone.endpoint.stun.addresses]).toEqual(['4 none ', []])
  })

  it('servers that rested are asked at once on another network', () => {
    name(['one', one])
    for (let i = 0; i < 1200 && states()[0] !== 'one resting'; i++) lone.advance(second)
    expect([states(), lone.advance(20 * second)]).toEqual([['one resting'], []])
    lone.endpoint.stun.networkChanged(lone.now)
    expect(targets(lone.advance(0.3 * second))).toEqual(['192.0.2.1:3478'])
  })

  it('the mapping is kept open while an invite names it, and no longer', () => {
    const first = name(['one', one])
    lone.receive(answerTo(first[0]!, us))
    const token = repeated(7, 16)
    lone.endpoint.addInvite(lone.now, { token, expires: toWallTime(lone.wall + 10 * 60_000), name: undefined, spentBy: [], uses: 1 })
    for (let i = 0; i < 1000; i++) for (const request of lone.advance(0.1 * second)) lone.receive(answerTo(request, us))
    // Every 25 s, give or take a tenth.
    const asked = lone.counters['stun_requests']! - 1
    expect(asked).toBeGreaterThanOrEqual(3)
    expect(asked).toBeLessThanOrEqual(4)
    lone.endpoint.revokeInvite(lone.now, token)
    expect([lone.advance(5 * minute), told().length]).toEqual([[], 1])
  })

  it('one round without an answer does not end what is known on the same network, two do', () => {
    const first = name(['one', one])
    lone.receive(answerTo(first[0]!, us))
    lone.endpoint.addInvite(lone.now, { token: repeated(7, 16), expires: toWallTime(lone.wall + 60 * 60_000), name: undefined, spentBy: [], uses: 1 })
    lone.advance(35 * second)
    expect([told().length, lone.endpoint.stun.addresses.length]).toEqual([1, 1])
    lone.advance(2 * minute)
    expect([told().at(-1), lone.endpoint.stun.addresses]).toEqual(['4 none ', []])
  })

  it('a server that lies of an address where nobody can be is not believed', () => {
    for (const lie of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '169.254.1.1', '255.255.255.255']) {
      const alone = new LoneEndpoint({ provider: node, seed: repeated(1) })
      alone.endpoint.stun.setServers(alone.now, [{ name: 'liar', address: one }])
      alone.receive(answerTo(alone.drain()[0]!, address(lie, 9)))
      expect([alone.endpoint.stun.addresses, alone.endpoint.stun.servers(alone.now)[0]!.state], lie).toEqual([[], 'silent'])
    }
  })

  it('a socket that is gone takes its mapping with it, and the next one asks', () => {
    const first = name(['one', one])
    lone.receive(answerTo(first[0]!, us))
    lone.endpoint.handleLink(lone.now, UDP, 'failed')
    expect([lone.endpoint.stun.addresses, lone.drain()]).toEqual([[], []])
    lone.open(UDP, 'udp')
    expect(targets(lone.drain())).toEqual(['192.0.2.1:3478'])
  })

  it('without servers, and while it shuts down, nothing is asked or known', () => {
    const first = name(['one', one])
    lone.receive(answerTo(first[0]!, us))
    expect([name(), lone.endpoint.stun.addresses, told().at(-1)]).toEqual([[], [], '4 none '])
    name(['one', one])
    lone.endpoint.shutdown(lone.now, lone.now.mono)
    expect([name(['one', one]), lone.advance(minute), lone.endpoint.stun.addresses]).toEqual([[], [], []])
  })

  it('requests of strangers are not answered', () => {
    const request = encodeStun(node, { class: 'request', transactionId: repeated(3, 12), fingerprint: true })
    expect([lone.receive({ from: one, bytes: request }), lone.counters['drop_stun']]).toEqual([[], 1])
  })

  describe('how the NAT gives out ports', () => {
    const elsewhere = address('192.0.2.77', 3479)
    const mapping = (): readonly string[] => lone.events.flatMap((event) => (event.kind === 'nat-mapping' ? [event.mapping] : []))
    const withOther = (request: Sent, other: Uint8Array): ReturnType<typeof answerTo> => {
      const { transactionId } = decodeStun(request.bytes) as Extract<ReturnType<typeof decodeStun>, { kind: 'stun' }>
      return answerTo(request, us, { attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(us, transactionId)], [stunAttribute.otherAddress, encodeStunAddress(other)]] })
    }

    it('is what a second server sees beside the first: the same port, or another', () => {
      const [first] = name(['one', one], ['two', two])
      const [next] = lone.receive(answerTo(first!, us))
      expect([formatAddress(next!.to), lone.endpoint.stun.asking, lone.endpoint.stun.mapping]).toEqual(['192.0.2.2:3478', true, 'unknown'])
      lone.receive(answerTo(next!, us))
      expect([mapping(), lone.endpoint.stun.asking, lone.endpoint.stun.mapping]).toEqual([['endpoint-independent'], false, 'endpoint-independent'])
      // Another network: asked anew, and what was known stands until then.
      lone.endpoint.stun.networkChanged(lone.now)
      const [third] = lone.advance(0.25 * second)
      const [fourth] = lone.receive(answerTo(third!, us))
      expect(lone.endpoint.stun.mapping).toBe('endpoint-independent')
      lone.receive(answerTo(fourth!, address('203.0.113.9', 40_001)))
      expect(mapping()).toEqual(['endpoint-independent', 'dependent'])
      // Nobody sees us any more.
      name()
      expect(mapping().at(-1)).toBe('unknown')
    })

    it('one server that speaks RFC 5780 is two voices', () => {
      const [first] = name(['one', one])
      const [next] = lone.receive(withOther(first!, elsewhere))
      expect(formatAddress(next!.to)).toBe('192.0.2.77:3479')
      lone.receive(answerTo(next!, address('203.0.113.9', 40_001)))
      expect(lone.endpoint.stun.mapping).toBe('dependent')
    })

    it('a server cannot send us to ask itself, our own network or nobody', () => {
      for (const other of [address('192.0.2.1', 9), address('10.0.0.1', 3478), address('127.0.0.1', 3478), address('224.0.0.1', 3478), address('192.0.2.77', 0)]) {
        const alone = lone = new LoneEndpoint({ provider: node, seed: repeated(1) })
        const [first] = name(['one', one])
        expect(targets(alone.receive(withOther(first!, other)))).toEqual([])
        expect([alone.endpoint.stun.mapping, alone.endpoint.stun.asking]).toEqual(['unknown', false])
      }
    })

    it('is unknown where the second voice is silent, and a forged answer says nothing', () => {
      const [first] = name(['one', one], ['two', two])
      const [next] = lone.receive(answerTo(first!, us))
      lone.receive({ from: one, bytes: answerTo(next!, address('203.0.113.9', 1)).bytes })
      expect([lone.counters['drop_stun_forged'], lone.endpoint.stun.mapping]).toEqual([1, 'unknown'])
      lone.advance(minute)
      expect([lone.endpoint.stun.asking, lone.endpoint.stun.mapping]).toEqual([false, 'unknown'])
    })
  })
})
