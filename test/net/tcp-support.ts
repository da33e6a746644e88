import { Duplex } from 'node:stream'
import { connect, createServer, Socket, type AddressInfo, type NetConnectOpts } from 'node:net'
import { ADDRESS_SIZE, encodeAddress } from '../../src/core/base/address.ts'
import { writeU16 } from '../../src/core/base/bytes.ts'
import type { PosternError } from '../../src/core/base/errors.ts'
import { after, millisecond, toInstant, type Instant } from '../../src/core/base/time.ts'
import { TransmitBatch, type LinkId, type LinkInfo, type LinkState } from '../../src/core/endpoint/contract.ts'
import type { ConnectionHost } from '../../src/net/driver.ts'
import { tcpSystem, type TcpSystem } from '../../src/net/tcp-system.ts'
import { TcpDriver, type TcpOptions } from '../../src/net/tcp.ts'
import { TestHost, turn, until } from './udp-support.ts'

/** The sockets that nodes are made of unless a test brings its own: those of node:net, or the addon's (tcp-native.test.ts). */
export const usual: { system: TcpSystem } = { system: tcpSystem }

export const PREFACE: Buffer = Buffer.from([0x50, 0x53, 0x54, 0x01])

/** Real sockets on a clock that stands still until the test moves it. */
export class ManualSystem implements TcpSystem {
  readonly sharesPort: boolean
  readonly createServer: TcpSystem['createServer'] = (options, accept) => this.#base.createServer(options, accept)
  readonly listen: TcpSystem['listen'] = (server, options, listening) => this.#base.listen(server, options, listening)
  readonly connect: TcpSystem['connect'] = (options) => {
    this.connects.push(options)
    const next = this.nextSockets.shift()
    return next === undefined ? this.#base.connect(options) : next(options)
  }

  readonly connects: NetConnectOpts[] = []
  /** Played instead of real connections, first come first served. */
  readonly nextSockets: ((options: NetConnectOpts) => Socket)[] = []
  readonly timers: Map<number, { readonly at: Instant; readonly run: () => void }> = new Map<number, { readonly at: Instant; readonly run: () => void }>()
  #now: Instant = toInstant(1e6)
  #nextTimer = 1
  readonly #base: TcpSystem

  constructor(base: TcpSystem = usual.system) {
    this.#base = base
    this.sharesPort = base.sharesPort
  }

  now(): Instant {
    return this.#now
  }

  setTimeout(run: () => void, milliseconds: number): unknown {
    const timer = this.#nextTimer++
    this.timers.set(timer, { at: after(this.#now, milliseconds * millisecond), run })
    return timer
  }

  clearTimeout(handle: unknown): void {
    this.timers.delete(handle as number)
  }

  /** Moves the clock, runs what became due in between at its time, and lets the loop turn. */
  async advance(milliseconds: number): Promise<void> {
    const end = after(this.#now, milliseconds * millisecond)
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0]
      if (due === undefined) break
      this.timers.delete(due[0])
      this.#now = due[1].at
      due[1].run()
    }
    this.#now = end
    await turn()
    await turn()
  }
}

/** A socket that never gets anywhere by itself: the test makes it fail. */
export function deadSocket(): Socket {
  return new Socket()
}

/** A connection whose kernel the test plays: it takes what is written when the test says so. */
export class PlayedSocket extends Duplex {
  readonly localAddress = '127.0.0.1'
  readonly localPort = 40_000
  readonly taken: Buffer[] = []
  readonly waiting: { readonly bytes: Buffer; readonly taken: (error?: Error) => void }[] = []
  /** Takes everything at once, as a kernel with room does. */
  roomy = true
  wasReset = false
  finished = false

  constructor() {
    super({ allowHalfOpen: true })
    // As after a real connect.
    setImmediate(() => this.emit('connect'))
  }

  get asSocket(): Socket {
    return this as unknown as Socket
  }

  override _read(): void {
    // The test pushes.
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, taken: (error?: Error) => void): void {
    if (this.roomy) {
      this.taken.push(Buffer.from(bytes))
      taken()
    } else {
      this.waiting.push({ bytes, taken })
    }
  }

  override _final(done: () => void): void {
    this.finished = true
    done()
  }

  /** The kernel took the write that waits. */
  takeOne(): void {
    const write = this.waiting.shift()
    if (write === undefined) throw new Error('no write waits')
    this.taken.push(Buffer.from(write.bytes))
    write.taken()
  }

  resetAndDestroy(): this {
    this.wasReset = true
    return this.destroy()
  }

  setNoDelay(): this {
    return this
  }
}

/** A link over a {@link PlayedSocket}, opened and confirmed. */
export async function playedLink(node: TcpNode): Promise<{ readonly socket: PlayedSocket; readonly link: LinkId }> {
  const socket = new PlayedSocket()
  const count = node.host.opens.length
  node.system.nextSockets.push(() => socket.asSocket)
  node.driver.dial(encodeAddress('192.0.2.1', 7000)!, 1_000_000 + count)
  await until(() => socket.taken.length === 1)
  socket.push(PREFACE)
  await until(() => node.host.opens.length > count)
  const link = node.host.opens.length as LinkId
  node.driver.confirm(link)
  socket.taken.length = 0
  return { socket, link }
}

/** A socket on which the system reports `code`. */
export function failingSocket(code: string): Socket {
  const socket = new Socket()
  setImmediate(() => socket.destroy(Object.assign(new Error(code), { code })))
  return socket
}

export class TcpHost extends TestHost implements ConnectionHost {
  readonly tokens: (number | undefined)[] = []
  readonly dialFailures: { readonly token: number; readonly cause: PosternError }[] = []
  onOpened: (link: LinkId, info: LinkInfo) => void = () => undefined
  onChanged: (link: LinkId, state: LinkState) => void = () => undefined

  override opened(info: LinkInfo, token?: number): LinkId {
    if (this.inCall) throw new Error('opened was called from inside a call into the driver')
    this.tokens.push(token)
    const link = super.opened(info)
    this.onOpened(link, info)
    return link
  }

  override changed(link: LinkId, state: Exclude<LinkState, 'opened'>, cause: PosternError | undefined): void {
    super.changed(link, state, cause)
    this.onChanged(link, state)
  }

  dialFailed(token: number, cause: PosternError): void {
    if (this.inCall) throw new Error('dialFailed was called from inside a call into the driver')
    this.dialFailures.push({ token, cause })
  }

  /** What was said of a link, without its blocked and writable. */
  ends(link: number): LinkState[] {
    return this.changes.filter((change) => change.link === link && (change.state === 'failed' || change.state === 'closed')).map(({ state }) => state)
  }

  cause(link: number): PosternError | undefined {
    return this.changes.find((change) => change.link === link && change.cause !== undefined)?.cause
  }
}

export const SLAB_SIZE = 262_144

export class TcpNode {
  readonly host: TcpHost = new TcpHost()
  readonly system: ManualSystem
  readonly driver: TcpDriver
  readonly batch: TransmitBatch = new TransmitBatch(1024)
  readonly slab: number

  constructor({ system: base, ...options }: Partial<TcpOptions> = {}) {
    this.system = base instanceof ManualSystem ? base : new ManualSystem(base)
    this.driver = new TcpDriver(this.host, { port: 0, bind: ['127.0.0.1'], ...options, system: this.system })
    this.slab = this.host.arena.allocate(SLAB_SIZE)
    this.batch.reset(this.slab, SLAB_SIZE)
  }

  get address(): Uint8Array {
    return encodeAddress('127.0.0.1', this.driver.port)!
  }

  stat(name: string): number {
    const value = this.driver.stats()[name]
    if (value === undefined) throw new Error(`nothing is counted as ${name}`)
    return value
  }

  /** Appends a burst: `bytes` cut into pieces of `segmentSize`. */
  add(link: number, bytes: Uint8Array, segmentSize: number = bytes.length): void {
    const { batch } = this
    const row = batch.count++
    batch.link[row] = link
    batch.address.fill(0, row * ADDRESS_SIZE, (row + 1) * ADDRESS_SIZE)
    batch.offset[row] = batch.base + batch.used
    batch.length[row] = bytes.length
    batch.segmentSize[row] = segmentSize
    this.host.arena.bytes.set(bytes, batch.base + batch.used)
    batch.used += bytes.length
  }

  /** Hands the batch over without waiting. */
  hand(done: () => void = () => undefined): number {
    this.host.inCall = true
    const taken = this.driver.send(this.batch, done)
    this.host.inCall = false
    this.batch.reset(this.slab, SLAB_SIZE)
    return taken
  }

  /** Hands the batch over and resolves, with the rows taken, when it is done. */
  async send(): Promise<number> {
    let taken = 0
    await new Promise<void>((resolve) => {
      taken = this.hand(resolve)
    })
    return taken
  }

  /** Sockets that have begun and not ended; each ends in exactly one of the counted ways. */
  get alive(): number {
    const stats = this.driver.stats()
    const ends = Object.entries(stats).filter(([name]) => name.startsWith('tcp_end_')).reduce((sum, [, count]) => sum + count, 0)
    return stats['tcp_accepted']! + stats['tcp_dials']! - ends
  }

  /** A call into the driver in which it must not call the host. */
  quietly(call: (driver: TcpDriver) => void): void {
    this.host.inCall = true
    call(this.driver)
    this.host.inCall = false
  }

  /** The other side may be a test's, which says no goodbye: the time for it passes at once. */
  async close(): Promise<void> {
    const closing = this.driver.close()
    for (let i = 0; i < 5; i++) await turn()
    await this.system.advance(1_000)
    await closing
    if (this.system.timers.size > 0) throw new Error('a timer outlived its driver')
  }
}

export async function openNode(options: Partial<TcpOptions> = {}): Promise<TcpNode> {
  const node = new TcpNode(options)
  await node.driver.start()
  return node
}

/** Dials from `a` to `b` and waits for the link on both sides, which it confirms. */
export async function link(a: TcpNode, b: TcpNode, token = 1): Promise<{ readonly a: LinkId; readonly b: LinkId }> {
  const before = [a.host.opens.length, b.host.opens.length] as const
  a.driver.dial(b.address, token)
  await until(() => a.host.opens.length > before[0] && b.host.opens.length > before[1])
  const links = { a: a.host.opens.length as LinkId, b: b.host.opens.length as LinkId }
  a.driver.confirm(links.a)
  b.driver.confirm(links.b)
  return links
}

/** The other side as raw bytes, for what no driver of ours would do. */
export class Raw {
  readonly socket: Socket
  readonly chunks: Buffer[] = []
  ended = false
  closed = false
  error: string | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => void this.chunks.push(chunk))
    socket.on('end', () => (this.ended = true))
    socket.on('close', () => (this.closed = true))
    socket.on('error', (error: NodeJS.ErrnoException) => (this.error = error.code))
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks)
  }

  write(...parts: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve) => void this.socket.write(Buffer.concat(parts), () => resolve()))
  }

  reset(): void {
    this.socket.resetAndDestroy()
  }
}

/** Connects to a node's listener, from the given address of the loopback network. */
export async function rawDial(node: TcpNode, from = '127.0.0.1'): Promise<Raw> {
  const raw = new Raw(connect({ host: '127.0.0.1', port: node.driver.port, localAddress: from, allowHalfOpen: true }))
  await until(() => !raw.socket.connecting)
  return raw
}

export interface RawServer {
  readonly address: Uint8Array
  readonly accepted: Raw[]
  close(): Promise<void>
}

export async function rawListen(): Promise<RawServer> {
  const accepted: Raw[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => void accepted.push(new Raw(socket)))
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return {
    address: encodeAddress('127.0.0.1', (server.address() as AddressInfo).port)!,
    accepted,
    close: async () => {
      for (const { socket } of accepted) socket.destroy()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}

/** What was written is read: the loop has turned often enough for it to be polled. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await turn()
}

/** One record of WIRE.md §7. */
export function record(bytes: Uint8Array): Uint8Array {
  const framed = new Uint8Array(2 + bytes.length)
  writeU16(framed, 0, bytes.length)
  framed.set(bytes, 2)
  return framed
}

/** Bytes that say where they belong. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (seed * 31 + i * 7 + (i >>> 8)) & 0xff
  return bytes
}
