import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encodeAddress } from '../../src/core/base/address.ts'
import { encodeStun, stunAttribute } from '../../src/core/wire/stun.ts'
import { StunStreams } from '../../src/net/stun-streams.ts'
import { tcpSystem } from '../../src/net/tcp-system.ts'
import { repeated } from '../support/bytes.ts'
import { node } from '../support/providers.ts'
import { until } from './udp-support.ts'

const question = encodeStun(node, { class: 'request', transactionId: repeated(1, 12), attributes: [] })
const answer = encodeStun(node, { class: 'success', transactionId: repeated(1, 12), attributes: [[stunAttribute.software, repeated(65, 40)]] })

describe('STUN over TCP', () => {
  let server: Server
  let address: Uint8Array
  const sockets: Socket[] = []
  let heard = Buffer.alloc(0)
  let ends: string[] = []
  let told: string[] = []
  let streams: StunStreams

  beforeEach(async () => {
    sockets.length = 0
    heard = Buffer.alloc(0)
    ends = []
    told = []
    server = createServer((socket) => {
      sockets.push(socket)
      socket.on('data', (bytes: Buffer) => { heard = Buffer.concat([heard, bytes]) })
      socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''))
      socket.on('end', () => ends.push('end'))
    })
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
    address = encodeAddress('127.0.0.1', (server.address() as AddressInfo).port)!
    streams = new StunStreams({ received: (_server, message) => told.push(`message of ${message.length}`), lost: () => told.push('lost') }, { system: tcpSystem, localPort: undefined })
  })

  afterEach(() => {
    streams.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })

  it('asks over one connection, and takes answers that come in pieces', async () => {
    streams.send(address, question)
    await until(() => heard.length === question.length)
    expect([...heard]).toEqual([...question])
    for (const byte of answer) sockets[0]!.write(Uint8Array.of(byte))
    await until(() => told.length === 1)
    streams.send(address, question)
    await until(() => heard.length === 2 * question.length)
    sockets[0]!.write(Buffer.concat([answer, answer]))
    await until(() => told.length === 3)
    expect([told, sockets.length, streams.size]).toEqual([Array(3).fill(`message of ${answer.length}`), 1, 1])
    expect(sockets[0]!.remotePort).toBe(streams.localPort(address))
  })

  it('says once that a connection is over: hung up, broken, full of something else, or never made', async () => {
    for (const end of [(socket: Socket): unknown => socket.end(), (socket: Socket): unknown => socket.resetAndDestroy(), (socket: Socket): unknown => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')]) {
      const before = told.length
      const count = sockets.length
      streams.send(address, question)
      await until(() => sockets.length > count)
      end(sockets.at(-1)!)
      await until(() => told.length > before)
      expect(streams.size).toBe(0)
    }
    expect(told).toEqual(['lost', 'lost', 'lost'])
    streams.send(encodeAddress('127.0.0.1', 1)!, question)
    await until(() => told.length === 4)
    expect([told, streams.size]).toEqual([['lost', 'lost', 'lost', 'lost'], 0])
  })

  it('ends by RST, so that the two ports are free at once, and says nothing of what it ended itself', async () => {
    streams.send(address, question)
    await until(() => heard.length > 0)
    streams.keep(() => true)
    expect(streams.size).toBe(1)
    sockets[0]!.write(answer)
    streams.keep(() => false)
    await until(() => ends.length > 0)
    expect([ends, told, streams.size]).toEqual([['ECONNRESET'], [], 0])
  })
})
