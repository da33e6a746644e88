/** PCP (RFC 6887) and NAT-PMP (RFC 6886), byte by byte from the figures of the RFCs. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { decodeNatPmp, encodeNatPmpAddress, encodeNatPmpMap } from '../../../src/core/wire/nat-pmp.ts'
import { decodePcp, encodePcpAnnounce, encodePcpMap, type Transport } from '../../../src/core/wire/pcp.ts'
import { bytes, hex, mutations } from '../../support/bytes.ts'

const local = encodeAddress('192.168.1.7', 7000)!
const nonce = hex('000102030405060708090a0b')
const four = '00000000000000000000ffff'
const transports = fc.constantFrom<Transport>('udp', 'tcp')

describe('PCP', () => {
  it('asks for a mapping as figure 9 of the RFC has it', () => {
    const suggested = { port: 7001, address: encodeAddress('203.0.113.9', 1)! }
    expect(encodePcpMap({ lifetime: 1200, internal: local, nonce, transport: 'udp', suggested })).toEqual(hex(`02 01 0000 000004b0 ${four} c0a80107
      000102030405060708090a0b 11 000000 1b58 1b59 ${four} cb007109`))
    // Whatever address, of the family that we have.
    expect(encodePcpMap({ lifetime: 0, internal: local, nonce, transport: 'tcp', suggested: { port: 0, address: undefined } })).toEqual(hex(`02 01 0000 00000000 ${four} c0a80107
      000102030405060708090a0b 06 000000 1b58 0000 ${four} 00000000`))
    expect(encodePcpMap({ lifetime: 0, internal: encodeAddress('2001:db8::1', 7000)!, nonce, transport: 'tcp', suggested: { port: 0, address: undefined } }).slice(44)).toEqual(new Uint8Array(16))
    expect(encodePcpAnnounce(local)).toEqual(hex(`02 00 0000 00000000 ${four} c0a80107`))
  })

  const map = hex(`02 81 00 00 00000258 0000abcd 000000000000000000000000 000102030405060708090a0b 11 000000 1b58 1b60 ${four} cb007109`)

  it('reads answers', () => {
    const decoded = decodePcp(map)
    expect(decoded).toMatchObject({ kind: 'map', result: 0, lifetime: 600, epoch: 0xabcd, nonce, transport: 'udp', internalPort: 7000 })
    expect(decoded.kind === 'map' && formatAddress(decoded.external)).toBe('203.0.113.9:7008')
    expect(decodePcp(hex('02 80 00 00 00000000 00000005 000000000000000000000000'))).toEqual({ kind: 'announce', result: 0, lifetime: 0, epoch: 5 })
    // With an option behind it, which means nothing to us.
    expect(decodePcp(hex('02 80 00 00 00000000 00000005 000000000000000000000000 80000004 01020304'))).toMatchObject({ kind: 'announce' })
    // Of a server of NAT-PMP that was asked in version 2, and of one of PCP that was asked in version 0.
    expect(decodePcp(hex('00 81 0001 00000005'))).toEqual({ kind: 'version', offered: 0 })
    expect(decodePcp(hex('02 80 00 01 00000000 00000005 000000000000000000000000'))).toEqual({ kind: 'version', offered: 2 })
  })

  it.each([
    ['', 'size'], ['0281', 'size'], ['02 81 00 00 00000258 0000abcd', 'size'], ['02 81 00 00 00000258 0000abcd 000000000000000000000000', 'size'],
    [`02 80 00 00 00000000 00000005 0000000000000000000000 00 00`, 'size'], ['02 01 0000 00000000 00000005 000000000000000000000000', 'request'],
    ['03 81 00 00 00000000 00000005 000000000000000000000000', 'version'], ['02 82 00 00 00000000 00000005 000000000000000000000000', 'opcode'],
  ])('%s is malformed: %s', (text, where) => {
    expect(decodePcp(hex(text))).toEqual({ kind: 'malformed', where })
  })

  it('another transport and too long a message are malformed', () => {
    const other = map.slice()
    other[36] = 132
    expect(decodePcp(other)).toEqual({ kind: 'malformed', where: 'transport' })
    const long = new Uint8Array(1104)
    long.set(map)
    expect(decodePcp(long)).toEqual({ kind: 'malformed', where: 'size' })
    expect(decodePcp(long.subarray(0, 1100))).toMatchObject({ kind: 'map' })
  })

  it('any bytes are a value, and what is read of a map is what stands there', () => {
    fc.assert(fc.property(fc.oneof(bytes(0, 1200), mutations(map)), (input) => {
      const decoded = decodePcp(input)
      if (decoded.kind === 'map') expect([input[0], input[1], input.length >= 60, decoded.lifetime, decoded.internalPort]).toEqual([2, 0x81, true, Buffer.from(input).readUInt32BE(4), Buffer.from(input).readUInt16BE(40)])
    }))
    fc.assert(fc.property(transports, fc.nat(0xffff), fc.nat(0xffff_ffff), bytes(12), (transport, port, lifetime, drawn) => {
      const request = Buffer.from(encodePcpMap({ lifetime, internal: encodeAddress('10.0.0.1', port)!, nonce: drawn, transport, suggested: { port, address: undefined } }))
      expect([request.length, request.readUInt32BE(4), request[36], request.readUInt16BE(40), request.readUInt16BE(42), request.subarray(24, 36).equals(drawn)]).toEqual([60, lifetime, transport === 'udp' ? 17 : 6, port, port, true])
    }))
  })
})

describe('NAT-PMP', () => {
  it('asks as the RFC has it', () => {
    expect(encodeNatPmpAddress()).toEqual(hex('0000'))
    expect(encodeNatPmpMap({ transport: 'udp', internalPort: 7000, externalPort: 7001, lifetime: 7200 })).toEqual(hex('00 01 0000 1b58 1b59 00001c20'))
    expect(encodeNatPmpMap({ transport: 'tcp', internalPort: 7000, externalPort: 0, lifetime: 0 })).toEqual(hex('00 02 0000 1b58 0000 00000000'))
  })

  const map = hex('00 81 0000 0000abcd 1b58 1b59 00000e10')

  it('reads answers', () => {
    const address = decodeNatPmp(hex('00 80 0000 0000abcd cb007109'))
    expect(address).toMatchObject({ kind: 'address', result: 0, epoch: 0xabcd })
    expect(address.kind === 'address' && formatAddress(address.external!)).toBe('203.0.113.9:0')
    expect(decodeNatPmp(hex('00 80 0003 0000abcd'))).toEqual({ kind: 'address', result: 3, epoch: 0xabcd, external: undefined })
    expect(decodeNatPmp(map)).toEqual({ kind: 'map', transport: 'udp', result: 0, epoch: 0xabcd, internalPort: 7000, externalPort: 7001, lifetime: 3600 })
    expect(decodeNatPmp(hex('00 82 0002 0000abcd'))).toMatchObject({ kind: 'map', transport: 'tcp', result: 2, internalPort: undefined })
  })

  it.each([
    ['', 'size'], ['00 80 0000 0000ab', 'size'], ['00 80 0000 0000abcd cb0071', 'size'], ['00 81 0000 0000abcd 1b58 1b59', 'size'],
    ['02 80 0000 0000abcd cb007109', 'version'], ['00 01 0000 1b58 1b59 00001c20', 'request'], ['00 83 0000 0000abcd 1b58 1b59 00000e10', 'opcode'],
  ])('%s is malformed: %s', (text, where) => {
    expect(decodeNatPmp(hex(text))).toEqual({ kind: 'malformed', where })
  })

  it('any bytes are a value', () => {
    fc.assert(fc.property(fc.oneof(bytes(0, 40), mutations(map)), (input) => {
      const decoded = decodeNatPmp(input)
      if (decoded.kind === 'map') expect(decoded.result).toBe(Buffer.from(input).readUInt16BE(2))
    }))
  })
})
