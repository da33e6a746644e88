import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { utf8 } from '../../../src/core/base/bytes.ts'
import type { LinkId } from '../../../src/core/base/domain.ts'
import { never, second, toInstant, toWallTime, type Now } from '../../../src/core/base/time.ts'
import { StunTransactions, TRANSACTIONS_MAX, type StunOutcome } from '../../../src/core/stun/transactions.ts'
import { encodeErrorCode, encodeStunAddress, encodeXorAddress } from '../../../src/core/wire/stun-attributes.ts'
import { checkFingerprint, checkIntegrity, decodeStun, encodeStun, stunAttribute, type StunMessage, type StunOptions } from '../../../src/core/wire/stun.ts'
import { bytes, mutations } from '../../support/bytes.ts'
import { node } from '../../support/providers.ts'

const LINK = 1 as LinkId
const server = encodeAddress('192.0.2.1', 3478)!
const stranger = encodeAddress('192.0.2.2', 3478)!
const mapped = encodeAddress('203.0.113.5', 40_000)!

function now(seconds: number): Now {
  return { mono: toInstant(seconds * second), wall: toWallTime(0) }
}

function parse(datagram: Uint8Array): StunMessage {
  const message = decodeStun(datagram)
  if (message.kind !== 'stun') throw new Error('we sent what is no STUN')
  return message
}

describe('STUN transactions', () => {
  let sent: { to: string; datagram: Uint8Array }[] = []
  let counts: Record<string, number> = {}
  let table: StunTransactions<string>
  const outcomes = (): StunOutcome<string>[] => {
    const found: StunOutcome<string>[] = []
    for (let outcome = table.pollOutcome(); outcome !== undefined; outcome = table.pollOutcome()) found.push(outcome)
    return found
  }
  const answer = (options: Partial<StunOptions> = {}, from: Uint8Array = server, at = 0.05, link = LINK): void => {
    const { transactionId } = parse(sent.at(-1)!.datagram)
    const datagram = encodeStun(node, { class: 'success', transactionId, attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(mapped, transactionId)]], ...options })
    table.handleDatagram(link, from, datagram, 0, datagram.length, now(at))
  }

  beforeEach(() => {
    sent = []
    counts = {}
    table = new StunTransactions({
      provider: node, unit: () => 0.5, send: (_link, to, datagram) => sent.push({ to: formatAddress(to), datagram }), count: (name) => { counts[name] = (counts[name] ?? 0) + 1 },
    })
  })

  it('asks with a fingerprint and nothing about ourselves, and takes the answer', () => {
    expect(table.ask(now(0), { link: LINK, to: server, tag: 'a' })).toBe(true)
    const request = parse(sent[0]!.datagram)
    expect([sent[0]!.to, request.class, checkFingerprint(request), request.attributes.length]).toEqual(['192.0.2.1:3478', 'request', 'valid', 1])
    answer({ attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(mapped, request.transactionId)], [stunAttribute.otherAddress, encodeStunAddress(stranger)]], fingerprint: true })
    expect(outcomes()).toEqual([{ kind: 'answered', tag: 'a', mapped, other: stranger, rtt: 50_000 }])
    expect([table.size, table.nextTimeout(), counts]).toEqual([0, never, { stun_requests: 1, stun_answers: 1 }])
    // A copy of it is an answer to nothing.
    answer()
    expect([outcomes(), counts['drop_stun']]).toEqual([[], 1])
  })

  it('repeats the same bytes by the schedule, and gives up', () => {
    table.ask(now(0), { link: LINK, to: server, tag: 'a' })
    const times = [0]
    while (table.size > 0) {
      const at = table.nextTimeout() / second
      table.handleTimeout(now(at))
      times.push(at)
    }
    expect(times).toEqual([0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 39.5])
    expect(new Set(sent.map(({ datagram }) => datagram.join())).size).toBe(1)
    expect([sent.length, outcomes(), counts]).toEqual([7, [{ kind: 'silent', tag: 'a' }], { stun_requests: 1, stun_repeats: 6, stun_timeouts: 1 }])
  })

  it('gives no round trip for a request that was repeated', () => {
    table.ask(now(0), { link: LINK, to: server, tag: 'a' })
    table.handleTimeout(now(0.5))
    answer({}, server, 0.6)
    expect(outcomes()).toMatchObject([{ kind: 'answered', rtt: undefined }])
  })

  it.each<[string, string, () => void]>([
    ['from another address', 'drop_stun_forged', () => answer({}, stranger)],
    ['from another port', 'drop_stun_forged', () => answer({}, encodeAddress('192.0.2.1', 3479))],
    ['on another socket', 'drop_stun', () => answer({}, server, 0.05, 2 as LinkId)],
    ['with another id', 'drop_stun', () => answer({ transactionId: new Uint8Array(12) })],
    ['as an indication', 'drop_stun_forged', () => answer({ class: 'indication' })],
    ['as a request', 'drop_stun', () => answer({ class: 'request' })],
    ['of another method', 'drop_stun_forged', () => answer({ method: 3 })],
    ['with a wrong fingerprint', 'drop_stun_forged', () => {
      const { transactionId } = parse(sent.at(-1)!.datagram)
      const datagram = encodeStun(node, { class: 'success', transactionId, attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(mapped, transactionId)]], fingerprint: true })
      datagram[datagram.length - 1]! ^= 1
      table.handleDatagram(LINK, server, datagram, 0, datagram.length, now(0.05))
    }],
    ['malformed', 'drop_stun', () => table.handleDatagram(LINK, server, Uint8Array.of(1, 1, 0, 0), 0, 4, now(0.05))],
  ])('an answer %s is dropped and counted, and the right one still taken', (_name, reason, act) => {
    table.ask(now(0), { link: LINK, to: server, tag: 'a' })
    act()
    expect([outcomes(), table.size, counts[reason]]).toEqual([[], 1, 1])
    answer()
    expect(outcomes()).toMatchObject([{ kind: 'answered' }])
  })

  it.each<[string, Partial<StunOptions>, object | undefined]>([
    ['an error', { class: 'error', attributes: [[stunAttribute.errorCode, encodeErrorCode({ code: 420, reason: 'Unknown' })]] }, { code: 420, reason: 'Unknown' }],
    ['an error without a code', { class: 'error', attributes: [] }, undefined],
    ['an answer without an address', { attributes: [] }, undefined],
    ['an answer with what must be understood and is not', { attributes: [[stunAttribute.mappedAddress, encodeStunAddress(mapped)], [0x7777, new Uint8Array(0)]] }, undefined],
  ])('%s ends the question', (_name, options, error) => {
    table.ask(now(0), { link: LINK, to: server, tag: 'a' })
    answer(options)
    expect([outcomes(), counts['stun_refusals'], table.size]).toEqual([[{ kind: 'refused', tag: 'a', error }], 1, 0])
  })

  it('under a credential nothing else is believed', () => {
    const key = utf8('secret')
    table.ask(now(0), { link: LINK, to: server, tag: 'a', key })
    expect(checkIntegrity(node, parse(sent[0]!.datagram), key)).toBe('valid')
    answer()
    answer({ integrity: [{ algorithm: 'sha256', key: utf8('guess') }] })
    expect([outcomes(), counts['drop_stun_forged']]).toEqual([[], 2])
    answer({ integrity: [{ algorithm: 'sha256', key }] })
    expect(outcomes()).toMatchObject([{ kind: 'answered' }])
  })

  it('an answer may come from where it was asked to come from, and only from there', () => {
    table.ask(now(0), { link: LINK, to: server, from: [stranger], tag: 'a' })
    answer()
    expect(outcomes()).toEqual([])
    answer({}, stranger)
    expect(outcomes()).toMatchObject([{ kind: 'answered' }])
  })

  it('a request to ourselves comes back', () => {
    table.ask(now(0), { link: LINK, to: mapped, loop: true, tag: 'a' })
    table.handleDatagram(LINK, mapped, sent[0]!.datagram, 0, sent[0]!.datagram.length, now(0.01))
    expect(outcomes()).toEqual([{ kind: 'returned', tag: 'a' }])
  })

  it('what the system does not send is over at once', () => {
    table.ask(now(0), { link: LINK, to: server, tag: 'a' })
    table.ask(now(0), { link: LINK, to: stranger, tag: 'b' })
    table.handleRefused(LINK, server)
    expect([outcomes(), table.size]).toEqual([[{ kind: 'unreachable', tag: 'a' }], 1])
    table.cancel((tag) => tag === 'b')
    expect([outcomes(), table.size]).toEqual([[], 0])
  })

  it('holds 64 and refuses more', () => {
    for (let i = 0; i < TRANSACTIONS_MAX; i++) expect(table.ask(now(0), { link: LINK, to: server, tag: String(i) })).toBe(true)
    expect([table.ask(now(0), { link: LINK, to: server, tag: 'x' }), sent.length, counts['stun_full']]).toEqual([false, 64, 1])
  })

  it('any bytes and changed answers are dropped or taken, never thrown at', () => {
    fc.assert(fc.property(bytes(0, 100), (noise) => {
      table.handleDatagram(LINK, server, noise, 0, noise.length, now(0))
    }))
    table.ask(now(0), { link: LINK, to: server, tag: 'a' })
    const { transactionId } = parse(sent.at(-1)!.datagram)
    const good = encodeStun(node, { class: 'success', transactionId, attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(mapped, transactionId)]], fingerprint: true })
    fc.assert(fc.property(mutations(good), (changed) => {
      table.handleDatagram(LINK, server, changed, 0, changed.length, now(0))
      const ended = outcomes().length
      expect(ended + table.size).toBe(1)
      if (ended === 1) table.ask(now(0), { link: LINK, to: server, tag: 'a' })
    }))
  })
})
