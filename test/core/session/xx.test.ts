/** Noise XX message by message: who can be fooled by bytes that were changed, returned, kept, or put together from two handshakes. */
import { describe, expect, it } from 'vitest'
import { equalBytes } from '../../../src/core/base/bytes.ts'
import { toWallTime } from '../../../src/core/base/time.ts'
import { Identity, IdValidator } from '../../../src/core/session/identity.ts'
import { mac1Key, OPEN_KEY, verifyMac1 } from '../../../src/core/session/macs.ts'
import { suiteOf } from '../../../src/core/session/suites.ts'
import { stampOf } from '../../../src/core/session/tai64n.ts'
import { XxInitiation, XxResponse, type XxFault, type XxIdentified, type XxNode } from '../../../src/core/session/xx.ts'
import { decodeHandshakeFragment, MESSAGE_A, type HandshakeFragment } from '../../../src/core/wire/handshake-fragment.ts'
import { LIMITS_DEFAULT, type HandshakePayload } from '../../../src/core/wire/handshake-payload.ts'
import { repeated } from '../../support/bytes.ts'
import { providers } from '../../support/providers.ts'

const suite = suiteOf(2)!
const key = repeated(0x5e)
const nonce = repeated(0x4e, 8)

describe.each(providers)('Noise XX with %s', (_name, provider) => {
  const nodeOf = (seed: number): XxNode => {
    const validator = new IdValidator(provider)
    return { provider, identity: new Identity(provider, repeated(seed)), x25519Of: (id) => validator.x25519Of(id) }
  }
  const [a, b, c] = [nodeOf(1), nodeOf(2), nodeOf(3)]
  const payload = (index: number): Omit<HandshakePayload, 'id'> => ({
    status: 0, suites: 6, caps: 0, index, sidSelf: repeated(index, 8), sidPeer: new Uint8Array(8), resetToken: repeated(9, 16), tai64n: stampOf(toWallTime(1_770_000_000_000)),
    limits: LIMITS_DEFAULT, invite: undefined, extensions: [],
  })
  const fragmentOf = (datagram: Uint8Array): HandshakeFragment => {
    const fragment = decodeHandshakeFragment(datagram, 0, datagram.length)
    if (fragment.kind === 'malformed') throw new Error(fragment.where)
    return fragment
  }
  const initiate = (node: XxNode, index = 11): XxInitiation => new XxInitiation(node, suite, index, key, nonce)
  const respond = (node: XxNode, datagram: Uint8Array, index = 22): XxResponse | undefined => {
    const fragment = fragmentOf(datagram)
    return XxResponse.to(node, suite, fragment.body.slice(), fragment.senderIndex, 1, payload(index))
  }
  const read = (reader: (fragment: HandshakeFragment, bytes: Uint8Array, offset: number, length: number) => XxIdentified | XxFault, datagram: Uint8Array): XxIdentified | XxFault => reader(fragmentOf(datagram), datagram, 0, datagram.length)
  const atInitiator = (initiation: XxInitiation, datagram: Uint8Array): XxIdentified | XxFault => read((...args) => initiation.readResponse(...args), datagram)
  const atResponder = (response: XxResponse, datagram: Uint8Array): XxIdentified | XxFault => read((...args) => response.readConfirmation(...args), datagram)

  /** A whole handshake, and every datagram of it. */
  function run(one = a, other = b): { readonly A: Uint8Array; readonly B: Uint8Array; readonly C: Uint8Array; readonly initiation: XxInitiation; readonly response: XxResponse } {
    const initiation = initiate(one)
    const [A] = initiation.datagrams(1200)
    const response = respond(other, A!)!
    const [B] = response.datagrams
    expect(atInitiator(initiation, B!)).toMatchObject({ kind: 'identified', payload: { id: other.identity.id }, remoteIndex: 22 })
    const confirmed = initiation.confirm(payload(11), 22)!
    const [C] = confirmed.datagrams
    expect(atResponder(response, C!)).toMatchObject({ kind: 'identified', payload: { id: one.identity.id }, remoteIndex: 11 })
    expect(response.split()).toEqual(confirmed.keys)
    return { A: A!, B: B!, C: C!, initiation, response }
  }

  it('has the sizes of WIRE.md §3.4, B no longer than A, and no name in clear', () => {
    const { A, B, C } = run()
    expect([A.length, B.length, C.length]).toEqual([340, 324, 292])
    const text = Buffer.concat([A, B, C]).toString('latin1')
    for (const { identity } of [a, b]) for (const secret of [identity.id, identity.staticKeyPair.publicKey, key]) expect(text.includes(Buffer.from(secret).toString('latin1'))).toBe(false)
    // Nothing of 8 bytes is the same in two runs but the headers and padding, with up to 5 bytes that chance may make equal beside it.
    const again = run()
    expect(equalBytes(again.A.subarray(12), A.subarray(12))).toBe(false)
    for (const [one, other] of [[A, again.A], [B, again.B], [C, again.C]] as const) {
      const rest = Buffer.from(other.subarray(12)).toString('latin1')
      for (let at = 12; at + 8 <= one.length; at++) {
        const piece = one.subarray(at, at + 8)
        if (piece.filter((byte) => byte !== 0).length > 5) expect(rest.includes(Buffer.from(piece).toString('latin1'))).toBe(false)
      }
    }
  })

  it('is begun only by who knows the key', () => {
    const [A] = initiate(a).datagrams(1200)
    expect(verifyMac1(provider, A!, 0, A!.length, MESSAGE_A, mac1Key(provider, key, nonce))).toBe(true)
    expect(verifyMac1(provider, A!, 0, A!.length, MESSAGE_A, mac1Key(provider, OPEN_KEY, nonce))).toBe(false)
    // And for the link that it was made for: another one's nonce, or none, is another key.
    for (const other of [repeated(0x4f, 8), repeated(0x4e, 7), undefined]) expect(verifyMac1(provider, A!, 0, A!.length, MESSAGE_A, mac1Key(provider, key, other))).toBe(false)
  })

  it('reads no A with anything but padding in it', () => {
    const [A] = initiate(a).datagrams(1200)
    for (const at of [52, 200, 307]) {
      const changed = A!.slice()
      changed[at]! ^= 1
      expect(respond(b, changed)).toBeUndefined()
    }
    // Another ephemeral key is another handshake: its answer is not for this one.
    const changed = A!.slice()
    changed[25]! ^= 1
    const initiation = initiate(a)
    expect(atInitiator(initiation, respond(b, changed)!.datagrams[0]!)).toBe('mac1')
    // An ephemeral key of small order makes no answer.
    expect(respond(b, A!.slice().fill(0, 20, 52))).toBeUndefined()
  })

  it('takes no B and no C of which a bit was changed, and goes on with the right one', () => {
    for (let at = 20; at < 308; at += 41) {
      const initiation = initiate(a)
      const response = respond(b, initiation.datagrams(1200)[0]!)!
      const B = response.datagrams[0]!.slice()
      B[at]! ^= 0x10
      expect(['mac1', 'digest', 'noise']).toContain(atInitiator(initiation, B))
      expect(atInitiator(initiation, response.datagrams[0]!)).toMatchObject({ kind: 'identified' })
      const C = initiation.confirm(payload(11), 22)!.datagrams[0]!
      const changed = C.slice()
      changed[Math.min(at, 275)]! ^= 0x10
      expect(['mac1', 'digest', 'noise']).toContain(atResponder(response, changed))
      expect(atResponder(response, C)).toMatchObject({ kind: 'identified' })
    }
  })

  it('is not fooled by its own bytes: A, B and C that come back', () => {
    const initiation = initiate(a)
    const own = respond(a, initiation.datagrams(1200)[0]!)!
    expect(atInitiator(initiation, own.datagrams[0]!)).toBe('self')
    const { B, C, response } = run()
    const next = initiate(a)
    expect(atInitiator(next, B)).toBe('mac1')
    expect(atResponder(respond(b, next.datagrams(1200)[0]!)!, C)).toBe('mac1')
    // C of the handshake to who sent it: it has no such answer, and as a B it is none.
    expect(fragmentOf(C).message).toBe(2)
    expect(response.localIndex).toBe(22)
  })

  it('does not join messages of two handshakes, or of two people', () => {
    const [one, two] = [initiate(a, 11), initiate(a, 12)]
    const first = respond(b, one.datagrams(1200)[0]!, 21)!
    const second = respond(b, two.datagrams(1200)[0]!, 22)!
    expect(atInitiator(one, second.datagrams[0]!)).toBe('mac1')
    expect(atInitiator(one, first.datagrams[0]!)).toMatchObject({ kind: 'identified' })
    expect(atInitiator(two, second.datagrams[0]!)).toMatchObject({ kind: 'identified' })
    const confirmation = one.confirm(payload(11), 21)!.datagrams[0]!
    expect(atResponder(second, confirmation)).toBe('mac1')
    expect(atResponder(first, confirmation)).toMatchObject({ kind: 'identified' })
    // A third who answers in b's place is who they are, and no other.
    const asked = initiate(a)
    const other = respond(c, asked.datagrams(1200)[0]!)!
    expect(atInitiator(asked, other.datagrams[0]!)).toMatchObject({ kind: 'identified', payload: { id: c.identity.id } })
  })

  it('does not believe an id that is not the static key\'s, nor an index that is not the header\'s', () => {
    for (const [id, fault] of [[c.identity.id, 'id'], [repeated(0xff), 'id']] as const) {
      const liar: XxNode = { ...b, identity: Object.assign(Object.create(b.identity) as Identity, { id }) }
      const initiation = initiate(a)
      expect(atInitiator(initiation, respond(liar, initiation.datagrams(1200)[0]!)!.datagrams[0]!)).toBe(fault)
      const honest = initiate({ ...a, identity: Object.assign(Object.create(a.identity) as Identity, { id }) })
      const response = respond(b, honest.datagrams(1200)[0]!)!
      expect(atInitiator(honest, response.datagrams[0]!)).toMatchObject({ kind: 'identified' })
      expect(atResponder(response, honest.confirm(payload(11), 22)!.datagrams[0]!)).toBe(fault)
    }
    const initiation = initiate(a)
    const response = respond(b, initiation.datagrams(1200)[0]!)!
    expect(atInitiator(initiation, response.datagrams[0]!)).toMatchObject({ kind: 'identified' })
    expect(atResponder(response, initiation.confirm(payload(12), 22)!.datagrams[0]!)).toBe('payload')
  })

  it('cannot be read on once it was wiped', () => {
    const initiation = initiate(a)
    const response = respond(b, initiation.datagrams(1200)[0]!)!
    initiation.wipe()
    expect(() => atInitiator(initiation, response.datagrams[0]!)).toThrow()
  })
})
