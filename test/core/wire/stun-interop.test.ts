import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { utf8 } from '../../../src/core/base/bytes.ts'
import { decodeErrorCode, encodeErrorCode, encodeXorAddress, mappedAddressOf } from '../../../src/core/wire/stun-attributes.ts'
import { checkFingerprint, checkIntegrity, decodeStun, encodeStun, findAttribute, stunAttribute, type StunMessage } from '../../../src/core/wire/stun.ts'
import { repeated } from '../../support/bytes.ts'
import { node } from '../../support/providers.ts'

/** What is used of the package `stun`, somebody else's implementation. */
interface PeerMessage {
  readonly type: number
  readonly transactionId: Buffer
  addAddress(address: string, port: number): void
  addXorAddress(address: string, port: number): void
  addSoftware(text: string): void
  addError(code: number, reason: string): void
  addMessageIntegrity(key: string): void
  addFingerprint(): void
  getXorAddress(): { readonly address: string; readonly port: number }
  getSoftware(): string
  toBuffer(): Buffer
}
interface Peer {
  createServer(options: { readonly type: 'udp4'; readonly socket: Socket }): { on(event: string, listener: (message: PeerMessage, from: RemoteInfo) => void): void; send(message: PeerMessage, port: number, address: string): void }
  createMessage(type: number, transaction: Buffer): PeerMessage
  decode(bytes: Buffer): PeerMessage
  validateFingerprint(message: PeerMessage): boolean
  validateMessageIntegrity(message: PeerMessage, key: string): boolean
  readonly constants: Readonly<Record<string, number>> & { readonly STUN_EVENT_BINDING_REQUEST: string }
}

const peer = createRequire(import.meta.url)('stun') as Peer
const transactionId = repeated(9, 12)

function read(bytes: Uint8Array): StunMessage {
  const message = decodeStun(bytes)
  if (message.kind !== 'stun') throw new Error(`malformed: ${message.where}`)
  return message
}

it('the package stun answers our request over a socket', async () => {
  const [theirs, ours] = [createSocket('udp4'), createSocket('udp4')]
  try {
    for (const socket of [theirs, ours]) {
      socket.bind(0, '127.0.0.1')
      await once(socket, 'listening')
    }
    const server = peer.createServer({ type: 'udp4', socket: theirs })
    let valid = false
    server.on(peer.constants.STUN_EVENT_BINDING_REQUEST, (request, from) => {
      valid = peer.validateFingerprint(request)
      const answer = peer.createMessage(peer.constants['STUN_BINDING_RESPONSE']!, request.transactionId)
      answer.addXorAddress(from.address, from.port)
      answer.addSoftware('somebody else')
      answer.addFingerprint()
      server.send(answer, from.port, from.address)
    })
    const came = once(ours, 'message')
    ours.send(encodeStun(node, { class: 'request', transactionId, fingerprint: true }), theirs.address().port, '127.0.0.1')
    const message = read(new Uint8Array((await came)[0] as Buffer))
    expect([valid, message.class, message.transactionId, checkFingerprint(message)]).toEqual([true, 'success', transactionId, 'valid'])
    expect(formatAddress(mappedAddressOf(message)!)).toBe(`127.0.0.1:${ours.address().port}`)
  } finally {
    theirs.close()
    ours.close()
  }
})

it('it reads our answers, their integrity and our errors', () => {
  for (const host of ['192.0.2.1', '2001:db8:1:2:3:4:5:6']) {
    const bytes = encodeStun(node, {
      class: 'success', transactionId, fingerprint: true, integrity: [{ algorithm: 'sha1', key: utf8('secret') }],
      attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(encodeAddress(host, 4242)!, transactionId)], [stunAttribute.software, utf8('abcde')]],
    })
    const message = peer.decode(Buffer.from(bytes))
    expect([message.getXorAddress().address, message.getXorAddress().port, message.getSoftware()]).toEqual([host, 4242, 'abcde'])
    expect([peer.validateFingerprint(message), peer.validateMessageIntegrity(message, 'secret'), peer.validateMessageIntegrity(message, 'guess')]).toEqual([true, true, false])
  }
  // It reads 420 as 480, its own too, but writes it as RFC 8489 §14.8 has it.
  const error = peer.createMessage(peer.constants['STUN_BINDING_ERROR_RESPONSE']!, Buffer.from(transactionId))
  error.addError(420, 'Unknown Attribute')
  expect(encodeStun(node, { class: 'error', transactionId, attributes: [[stunAttribute.errorCode, encodeErrorCode({ code: 420, reason: 'Unknown Attribute' })]] }).slice(0, 24)).toEqual(new Uint8Array(error.toBuffer()).slice(0, 24))
  expect(decodeErrorCode(findAttribute(read(new Uint8Array(error.toBuffer())), stunAttribute.errorCode)!)).toMatchObject({ code: 420 })
})

it('we read its answers, their integrity and its errors', () => {
  const answer = peer.createMessage(peer.constants['STUN_BINDING_RESPONSE']!, Buffer.from(transactionId))
  answer.addXorAddress('203.0.113.9', 65_535)
  answer.addMessageIntegrity('secret')
  answer.addFingerprint()
  const message = read(new Uint8Array(answer.toBuffer()))
  expect([formatAddress(mappedAddressOf(message)!), checkIntegrity(node, message, utf8('secret')), checkIntegrity(node, message, utf8('guess')), checkFingerprint(message)]).toEqual(['203.0.113.9:65535', 'valid', 'wrong', 'valid'])
  const refused = peer.createMessage(peer.constants['STUN_BINDING_ERROR_RESPONSE']!, Buffer.from(transactionId))
  refused.addError(400, 'Bad Request')
  expect(decodeErrorCode(findAttribute(read(new Uint8Array(refused.toBuffer())), stunAttribute.errorCode)!)).toEqual({ code: 400, reason: 'Bad Request' })
})
