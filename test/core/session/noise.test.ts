import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, utf8 } from '../../../src/core/base/bytes.ts'
import { HandshakeState } from '../../../src/core/session/noise.ts'
import { suiteOf } from '../../../src/core/session/suites.ts'
import { bytes, mutations, repeated } from '../../support/bytes.ts'
import { node, noble, providers } from '../../support/providers.ts'
import { handshakePair, type Pair } from '../../support/handshake.ts'

const PAYLOAD_A = repeated(0xa1, 192)
const PAYLOAD_B = repeated(0xb1, 192)

/** Runs IK from a written A to its end and checks that both sides agree. */
function finishIk({ initiator, responder }: Pair, a: Uint8Array): void {
  expect(responder.readMessage(a)).toEqual({ kind: 'message', payload: PAYLOAD_A })
  const b = responder.writeMessage(PAYLOAD_B)!
  expect(initiator.readMessage(b)).toEqual({ kind: 'message', payload: PAYLOAD_B })
  expect(initiator.split()).toEqual(responder.split())
}

describe.each(providers)('HandshakeState with %s', (_name, provider) => {
  it('IK: sizes, statics, hashes and keys agree', () => {
    const pair = handshakePair(provider, 1)
    const { initiator, responder } = pair
    const a = initiator.writeMessage(PAYLOAD_A)!
    expect(a).toHaveLength(288)
    expect(responder.readMessage(a)).toEqual({ kind: 'message', payload: PAYLOAD_A })
    expect(responder.remoteStatic).toEqual(pair.initiatorStatic.publicKey)
    expect(initiator.getHandshakeHash()).toEqual(responder.getHandshakeHash())
    const b = responder.writeMessage(PAYLOAD_B)!
    expect(b).toHaveLength(240)
    expect([responder.finished, initiator.finished]).toEqual([true, false])
    expect(initiator.readMessage(b)).toEqual({ kind: 'message', payload: PAYLOAD_B })
    const [one, other] = [initiator.split(), responder.split()]
    expect(one).toEqual(other)
    expect(one.initiatorKey).not.toEqual(one.responderKey)
    expect([one.initiatorKey.length, one.responderKey.length, one.h.length]).toEqual([32, 32, 32])
  })

  it('IK: a first message is read in two stages, and a stranger is known after the first', () => {
    const pair = handshakePair(provider, 1)
    const a = pair.initiator.writeMessage(PAYLOAD_A)!
    expect(pair.responder.readStatic(a)).toEqual({ kind: 'static', remoteStatic: pair.initiatorStatic.publicKey })
    expect(pair.responder.remoteStatic).toBeUndefined()
    expect(pair.responder.readRest(provider.x25519Import(pair.initiatorStatic.publicKey))).toEqual({ kind: 'message', payload: PAYLOAD_A })
    expect(pair.responder.remoteStatic).toEqual(pair.initiatorStatic.publicKey)
    const b = pair.responder.writeMessage(PAYLOAD_B)!
    expect(pair.initiator.readMessage(b)).toMatchObject({ kind: 'message' })
    expect(pair.initiator.split()).toEqual(pair.responder.split())
  })

  it('a staged read may be begun anew with another message, and asserts its order', () => {
    const pair = handshakePair(provider, 1)
    const a = pair.initiator.writeMessage(PAYLOAD_A)!
    const stranger = handshakePair(provider, 1, { responder: { s: pair.responderStatic } }).initiator.writeMessage(PAYLOAD_A)!
    expect(() => pair.responder.readRest()).toThrow('readStatic came before')
    expect(pair.responder.readStatic(stranger).kind).toBe('static')
    expect(pair.responder.readStatic(a).kind).toBe('static')
    expect(pair.responder.readRest()).toEqual({ kind: 'message', payload: PAYLOAD_A })
    expect(() => pair.responder.readRest()).toThrow('readStatic came before')
  })

  it('any change of A is refused, in whichever stage, and leaves the responder as it was', () => {
    const pair = handshakePair(provider, 1)
    const a = pair.initiator.writeMessage(PAYLOAD_A)!
    const before = pair.responder.getHandshakeHash()
    fc.assert(fc.property(mutations(a).filter((changed) => Buffer.compare(changed, a) !== 0), fc.boolean(), (changed, staged) => {
      if (staged) {
        const first = pair.responder.readStatic(changed)
        if (first.kind === 'static') expect(pair.responder.readRest().kind).toBe('malformed')
      } else {
        expect(pair.responder.readMessage(changed).kind).toBe('malformed')
      }
      expect(pair.responder.getHandshakeHash()).toEqual(before)
      expect(pair.responder.remoteStatic).toBeUndefined()
    }), { numRuns: 15 })
    finishIk(pair, a)
  })

  it('any change of B is refused and the pending handshake lives on (WIRE.md §3.11)', () => {
    const pair = handshakePair(provider, 1)
    const a = pair.initiator.writeMessage(PAYLOAD_A)!
    pair.responder.readMessage(a)
    const b = pair.responder.writeMessage(PAYLOAD_B)!
    fc.assert(fc.property(fc.oneof(mutations(b), bytes(0, 300)).filter((changed) => Buffer.compare(changed, b) !== 0), (changed) => {
      expect(pair.initiator.readMessage(changed).kind).toBe('malformed')
    }), { numRuns: 15 })
    expect(pair.initiator.readMessage(b)).toEqual({ kind: 'message', payload: PAYLOAD_B })
    expect(pair.initiator.split()).toEqual(pair.responder.split())
  })

  it('prologue, protocol name and the responder’s key are part of the transcript', () => {
    for (const initiator of [{ prologue: utf8('another') }, { protocolName: suiteOf(2)!.name }, { rs: provider.x25519Generate().publicKey }]) {
      const pair = handshakePair(provider, 1, { initiator })
      expect(pair.responder.readMessage(pair.initiator.writeMessage(PAYLOAD_A)!)).toEqual({ kind: 'malformed', where: 'tag' })
    }
  })

  it('an ephemeral of small order ends A in `dh`, and in XX keeps the responder from writing B', () => {
    const ik = handshakePair(provider, 1)
    const a = ik.initiator.writeMessage(PAYLOAD_A)!
    a.fill(0, 0, 32)
    expect(ik.responder.readMessage(a)).toEqual({ kind: 'malformed', where: 'dh' })
    const xx = handshakePair(provider, 2)
    expect(xx.responder.readMessage(new Uint8Array(288))).toEqual({ kind: 'message', payload: new Uint8Array(256) })
    expect(xx.responder.writeMessage(PAYLOAD_B)).toBeUndefined()
  })

  it('messages shorter than their tokens are refused', () => {
    const pair = handshakePair(provider, 1)
    const a = pair.initiator.writeMessage(PAYLOAD_A)!
    for (const size of [0, 31, 32, 79]) expect(pair.responder.readMessage(a.subarray(0, size))).toEqual({ kind: 'malformed', where: 'length' })
    for (const size of [80, 95]) expect(pair.responder.readMessage(a.subarray(0, size))).toEqual({ kind: 'malformed', where: 'tag' })
  })

  it('XX: three messages, both statics learnt on the way', () => {
    const { initiator, responder, initiatorStatic, responderStatic } = handshakePair(provider, 2)
    const a = initiator.writeMessage(new Uint8Array(256))!
    expect(responder.readMessage(a)).toEqual({ kind: 'message', payload: new Uint8Array(256) })
    const b = responder.writeMessage(PAYLOAD_B)!
    expect(initiator.readStatic(b)).toEqual({ kind: 'static', remoteStatic: responderStatic.publicKey })
    expect(initiator.readRest()).toEqual({ kind: 'message', payload: PAYLOAD_B })
    const c = initiator.writeMessage(PAYLOAD_A)!
    expect([a.length, b.length, c.length]).toEqual([288, 288, 256])
    expect(responder.readMessage(c)).toEqual({ kind: 'message', payload: PAYLOAD_A })
    expect(responder.remoteStatic).toEqual(initiatorStatic.publicKey)
    expect(initiator.split()).toEqual(responder.split())
  })
})

describe('HandshakeState', () => {
  it('node and noble shake hands with each other', () => {
    for (const [one, other] of [[node, noble], [noble, node]] as const) {
      const pair = handshakePair(one, 1, { other })
      finishIk(pair, pair.initiator.writeMessage(PAYLOAD_A)!)
    }
  })

  it('carries any payload', () => {
    fc.assert(fc.property(bytes(0, 600), bytes(0, 600), (first, second) => {
      const { initiator, responder } = handshakePair(node, 1)
      expect(responder.readMessage(initiator.writeMessage(first)!)).toEqual({ kind: 'message', payload: first })
      expect(initiator.readMessage(responder.writeMessage(second)!)).toEqual({ kind: 'message', payload: second })
    }), { numRuns: 20 })
  })

  it('draws a fresh ephemeral each time', () => {
    const keys = handshakePair(node, 1)
    const options = { initiator: { s: keys.initiatorStatic }, responder: { s: keys.responderStatic } }
    const messages = [1, 2].map(() => handshakePair(node, 1, options).initiator.writeMessage(PAYLOAD_A)!)
    expect(messages[0]).not.toEqual(messages[1])
  })

  it('asserts turns, keys, the end and wiping', () => {
    const pair = handshakePair(node, 1)
    expect(() => pair.responder.writeMessage(PAYLOAD_B)).toThrow('turn')
    expect(() => pair.initiator.readMessage(PAYLOAD_B)).toThrow('turn')
    expect(() => pair.initiator.split()).toThrow('split')
    const a = pair.initiator.writeMessage(PAYLOAD_A)!
    expect(() => pair.initiator.writeMessage(PAYLOAD_A)).toThrow('turn')
    finishIk(pair, a)
    expect(() => pair.initiator.split()).toThrow('split')
    expect(() => pair.responder.writeMessage(PAYLOAD_B)).toThrow('wiped')
    expect(() => handshakePair(node, 1, { initiator: { rs: undefined } })).toThrow('pre-message key')
  })

  it('does not pretend to have the hybrid tokens', () => {
    const suite = suiteOf(4)!
    const state = new HandshakeState(node, { pattern: suite.pattern, protocolName: suite.name, role: 'initiator', prologue: new Uint8Array(0), s: node.x25519Generate() })
    expect(() => state.writeMessage(new Uint8Array(0))).toThrow('e1 is not built')
  })

  it('a message of another handshake is refused', () => {
    const keys = handshakePair(node, 1)
    const options = { initiator: { s: keys.initiatorStatic }, responder: { s: keys.responderStatic } }
    const [one, other] = [handshakePair(node, 1, options), handshakePair(node, 1, options)]
    one.responder.readMessage(one.initiator.writeMessage(PAYLOAD_A)!)
    other.responder.readMessage(other.initiator.writeMessage(PAYLOAD_A)!)
    const [b, wrong] = [one.responder.writeMessage(PAYLOAD_B)!, other.responder.writeMessage(PAYLOAD_B)!]
    expect(one.initiator.readMessage(wrong).kind).toBe('malformed')
    // Splicing: the ephemeral of one, the rest of the other.
    expect(one.initiator.readMessage(concat(b.subarray(0, 32), wrong.subarray(32))).kind).toBe('malformed')
    expect(one.initiator.readMessage(b).kind).toBe('message')
  })
})
