/** What Node brings along: TLS 1.3 over TCP, TCP alone, and datagrams. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { selfSigned } from './certificate.ts'
import type { Pipe, Take, Transport } from './transport.ts'

const HOST = '127.0.0.1'
const CIPHERS = 'TLS_CHACHA20_POLY1305_SHA256'
const BUFFER = 4 << 20
/** Datagrams handed to a socket whose sending was not confirmed. */
const OUTSTANDING_MAX = 64

export function open({ kind }: Readonly<Record<string, unknown>>): Transport {
  return kind === 'dgram' ? new Datagrams() : new Streams(kind === 'tls')
}

class Streams implements Transport {
  readonly keepsMessages = false
  readonly #encrypted: boolean

  constructor(encrypted: boolean) {
    this.#encrypted = encrypted
  }

  async listen(accept: (pipe: Pipe) => void): Promise<unknown> {
    const take = (socket: Socket): void => accept(streamPipe(socket))
    const server: Server = this.#encrypted ? createTlsServer({ ...selfSigned(), minVersion: 'TLSv1.3', ciphers: CIPHERS }, take) : createTcpServer(take)
    server.listen(0, HOST)
    await once(server, 'listening')
    return { port: (server.address() as AddressInfo).port }
  }

  async dial({ port }: { readonly port: number }): Promise<Pipe> {
    const socket = this.#encrypted ? connectTls({ port, host: HOST, minVersion: 'TLSv1.3', ciphers: CIPHERS, rejectUnauthorized: false }) : connectTcp(port, HOST)
    await once(socket, this.#encrypted ? 'secureConnect' : 'connect')
    return streamPipe(socket)
  }
}

function streamPipe(socket: Socket): Pipe {
  socket.setNoDelay(true)
  socket.on('error', () => undefined)
  return {
    send: (bytes) => socket.write(bytes),
    onWritable: (callback) => void socket.once('drain', callback),
    onData: (take) => void socket.on('data', (bytes) => take(bytes, 0, bytes.length)),
    close: () => void socket.destroy(),
  }
}

/** Neither encrypted nor reliable nor held back: what `node:dgram` alone would do. */
class Datagrams implements Transport {
  readonly keepsMessages = true

  async listen(accept: (pipe: Pipe) => void): Promise<unknown> {
    const socket = await bound()
    let other = 0
    let take: Take = () => undefined
    socket.on('message', (bytes, { port }) => {
      other = port
      take(bytes, 0, bytes.length)
    })
    accept(datagramPipe(socket, () => other, (callback) => (take = callback)))
    return { port: socket.address().port }
  }

  async dial({ port }: { readonly port: number }): Promise<Pipe> {
    const socket = await bound()
    return datagramPipe(socket, () => port, (callback) => void socket.on('message', (bytes) => callback(bytes, 0, bytes.length)))
  }
}

async function bound(): Promise<UdpSocket> {
  const socket = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) })
  // By this lookup the socket may be bound before `bind` returns.
  const listening = once(socket, 'listening')
  socket.bind(0, HOST)
  await listening
  socket.setRecvBufferSize(BUFFER)
  socket.setSendBufferSize(BUFFER)
  return socket
}

function datagramPipe(socket: UdpSocket, port: () => number, onData: (take: Take) => void): Pipe {
  let outstanding = 0
  let ready: (() => void) | undefined
  const sent = (): void => {
    outstanding--
    if (outstanding > 0 || ready === undefined) return
    // Never from inside the completion of a send: Node's timers would starve.
    setImmediate(ready)
    ready = undefined
  }
  return {
    send: (bytes) => {
      outstanding++
      socket.send(bytes, port(), HOST, sent)
      return outstanding < OUTSTANDING_MAX
    },
    onWritable: (callback) => (ready = callback),
    onData,
    close: () => socket.close(),
  }
}
