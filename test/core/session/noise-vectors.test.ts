import { describe, expect, it } from 'vitest'
import type { CryptoProvider, X25519KeyPair } from '../../../src/core/crypto/provider.ts'
import { CipherState } from '../../../src/core/session/noise-symmetric.ts'
import { HandshakeState, type HandshakePattern, type Role, type Token } from '../../../src/core/session/noise.ts'
import { suiteOf } from '../../../src/core/session/suites.ts'
import { hex } from '../../support/bytes.ts'
import { providers } from '../../support/providers.ts'
import { readVectors } from '../../support/vectors.ts'

interface NoiseVector {
  readonly protocol_name: string
  readonly init_prologue: string
  readonly init_ephemeral?: string
  readonly init_static?: string
  readonly init_remote_static?: string
  readonly resp_prologue: string
  readonly resp_ephemeral?: string
  readonly resp_static?: string
  readonly resp_remote_static?: string
  readonly init_psks?: readonly string[]
  readonly handshake_hash?: string
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[]
}

function pattern(initiatorKnown: boolean, responderKnown: boolean, ...messages: readonly string[]): HandshakePattern {
  return {
    initiatorPreMessage: initiatorKnown ? ['s'] : [],
    responderPreMessage: responderKnown ? ['s'] : [],
    messages: messages.map((tokens) => tokens.split(' ') as Token[]),
  }
}

/** Noise §7.4 and §7.5. IK and XX are the program's own. The others show that the machine follows tokens, not patterns. */
const patterns: Readonly<Record<string, HandshakePattern>> = {
  IK: suiteOf(1)!.pattern, XX: suiteOf(2)!.pattern,
  N: pattern(false, true, 'e es'), K: pattern(true, true, 'e es ss'), X: pattern(false, true, 'e es s ss'),
  NN: pattern(false, false, 'e', 'e ee'), KN: pattern(true, false, 'e', 'e ee se'), NK: pattern(false, true, 'e es', 'e ee'),
  KK: pattern(true, true, 'e es ss', 'e ee se'), NX: pattern(false, false, 'e', 'e ee s es'), KX: pattern(true, false, 'e', 'e ee se s es'),
  XN: pattern(false, false, 'e', 'e ee', 's se'), IN: pattern(false, false, 'e s', 'e ee se'), XK: pattern(false, true, 'e es', 'e ee', 's se'),
  IX: pattern(false, false, 'e s', 'e ee se s es'),
}

const file = readVectors('noise-25519-chachapoly-sha256.json') as { readonly vectors: readonly NoiseVector[] } | undefined
const vectors = (file?.vectors ?? []).filter((vector) => vector.init_psks === undefined && patterns[patternOf(vector)] !== undefined)

function patternOf(vector: NoiseVector): string {
  return vector.protocol_name.split('_')[1]!
}

describe.skipIf(file === undefined).each(providers)('published Noise vectors with %s', (_name, provider) => {
  it('has one of IK, of XX and of every other fundamental and one-way pattern', () => {
    expect(new Set(vectors.map(patternOf))).toEqual(new Set(Object.keys(patterns)))
  })

  it.each(vectors.map((vector) => [vector.protocol_name, vector] as const))('%s', (_protocol, vector) => {
    const initiator = stateOf(provider, vector, 'initiator')
    const responder = stateOf(provider, vector, 'responder')
    const handshakeMessages = patterns[patternOf(vector)]!.messages.length
    const oneWay = handshakeMessages === 1
    vector.messages.slice(0, handshakeMessages).forEach(({ payload, ciphertext }, i) => {
      const [writer, reader] = i % 2 === 0 ? [initiator, responder] : [responder, initiator]
      expect(writer.writeMessage(hex(payload))).toEqual(hex(ciphertext))
      expect(reader.readMessage(hex(ciphertext))).toEqual({ kind: 'message', payload: hex(payload) })
    })
    if (vector.init_static !== undefined) expect(responder.remoteStatic).toEqual(keyOf(provider, vector.init_static)?.publicKey)
    const keys = initiator.split()
    expect(responder.split()).toEqual(keys)
    if (vector.handshake_hash !== undefined) expect(keys.h).toEqual(hex(vector.handshake_hash))
    const ciphers = [keys.initiatorKey, keys.responderKey].map((key) => {
      const cipher = new CipherState(provider)
      cipher.initializeKey(key)
      return cipher
    })
    vector.messages.slice(handshakeMessages).forEach(({ payload, ciphertext }, i) => {
      const cipher = ciphers[oneWay || (handshakeMessages + i) % 2 === 0 ? 0 : 1]!
      expect(cipher.encryptWithAd(new Uint8Array(0), hex(payload))).toEqual(hex(ciphertext))
    })
  })
})

function keyOf(provider: CryptoProvider, secret: string | undefined): X25519KeyPair | undefined {
  return secret === undefined ? undefined : provider.x25519FromPrivate(hex(secret))
}

function stateOf(provider: CryptoProvider, vector: NoiseVector, role: Role): HandshakeState {
  const initiator = role === 'initiator'
  const remote = initiator ? vector.init_remote_static : vector.resp_remote_static
  return new HandshakeState(provider, {
    pattern: patterns[patternOf(vector)]!,
    protocolName: vector.protocol_name,
    role,
    prologue: hex(initiator ? vector.init_prologue : vector.resp_prologue),
    s: keyOf(provider, initiator ? vector.init_static : vector.resp_static),
    e: keyOf(provider, initiator ? vector.init_ephemeral : vector.resp_ephemeral),
    rs: remote === undefined ? undefined : hex(remote),
  })
}
