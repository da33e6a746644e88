import { EventEmitter } from 'node:events'
import { networkInterfaces } from 'node:os'
import type { Socket } from 'node:dgram'
import { ADDRESS_SIZE, encodeAddress, formatAddress } from '../../src/core/base/address.ts'
import { Arena } from '../../src/core/base/arena.ts'
import type { PosternError } from '../../src/core/base/errors.ts'
import { TransmitBatch, type LinkId, type LinkInfo, type LinkState, type PathHint, type ReceiveBatch } from '../../src/core/endpoint/contract.ts'
import type { DriverHost } from '../../src/net/driver.ts'
import { UdpDriver, type UdpOptions } from '../../src/net/udp.ts'

export const hasIPv6: boolean = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1'))
if (!hasIPv6) console.warn('test/net: this machine has no IPv6 loopback (::1): the IPv6 tests are skipped')

export interface Received {
  readonly link: number
  readonly from: string
  readonly bytes: Uint8Array
}

/** A host that keeps copies of what it is told, and fails the test when a driver calls it from inside `send` or `close`. */
export class TestHost implements DriverHost {
  readonly arena: Arena = new Arena(4 << 20)
  readonly opens: LinkInfo[] = []
  readonly changes: { link: number; state: LinkState; cause: PosternError | undefined }[] = []
  readonly received_: Received[] = []
  readonly tooLarges: { link: number; length: number }[] = []
  readonly refusals: { link: number; to: string }[] = []
  /** Datagrams, and rows, of each call of `received`. */
  readonly batchCounts: number[] = []
  readonly rowCounts: number[] = []
  bytesReceived = 0
  keep = true
  inCall = false
  onReceived: (batch: ReceiveBatch) => void = () => undefined

  opened(info: LinkInfo): LinkId {
    this.opens.push(info)
    return this.opens.length as LinkId
  }

  changed(link: LinkId, state: Exclude<LinkState, 'opened'>, cause: PosternError | undefined): void {
    if (this.inCall) throw new Error('changed was called from inside a call into the driver')
    this.changes.push({ link, state, cause })
  }

  refused(link: LinkId, addresses: readonly Uint8Array[]): void {
    if (this.inCall) throw new Error('refused was called from inside a call into the driver')
    for (const address of addresses) this.refusals.push({ link, to: formatAddress(address) })
  }

  readonly hints: { readonly link: number; readonly hint: PathHint }[] = []

  hinted(link: LinkId, hints: readonly PathHint[]): void {
    if (this.inCall) throw new Error('hinted was called from inside a call into the driver')
    for (const hint of hints) this.hints.push({ link, hint })
  }

  tooLarge(link: LinkId, length: number): void {
    if (this.inCall) throw new Error('tooLarge was called from inside a call into the driver')
    this.tooLarges.push({ link, length })
  }

  received(batch: ReceiveBatch): void {
    if (this.inCall) throw new Error('received was called from inside a call into the driver')
    let datagrams = 0
    for (let row = 0; row < batch.count; row++) {
      const end = batch.offset[row]! + batch.length[row]!
      const segmentSize = batch.segmentSize[row]!
      this.bytesReceived += batch.length[row]!
      datagrams += Math.ceil(batch.length[row]! / segmentSize)
      for (let offset = batch.offset[row]!; this.keep && offset < end; offset += segmentSize) {
        this.received_.push({
          link: batch.link[row]!,
          from: formatAddress(batch.address, row * ADDRESS_SIZE),
          bytes: this.arena.bytes.slice(offset, Math.min(offset + segmentSize, end)),
        })
      }
    }
    this.batchCounts.push(datagrams)
    this.rowCounts.push(batch.count)
    this.onReceived(batch)
  }

  get count(): number {
    return this.batchCounts.reduce((sum, count) => sum + count, 0)
  }
}

export const defaults: UdpOptions = { port: 0, bind: ['::'], receiveBuffer: 4 << 20, sendBuffer: 4 << 20 }

export interface Node {
  readonly host: TestHost
  readonly driver: UdpDriver
  readonly batch: TransmitBatch
  readonly slab: number
}

export const SLAB_SIZE = 262_144

export function makeNode(options: Partial<UdpOptions> = {}): Node {
  const host = new TestHost()
  const driver = new UdpDriver(host, { ...defaults, ...options })
  const slab = host.arena.allocate(SLAB_SIZE)
  const batch = new TransmitBatch(256)
  batch.reset(slab, SLAB_SIZE)
  return { host, driver, batch, slab }
}

export async function openNode(options: Partial<UdpOptions> = {}): Promise<Node> {
  const node = makeNode(options)
  await node.driver.start()
  return node
}

/** Appends a burst to the node's batch: `bytes` cut into `segmentSize` pieces. */
export function addRow(node: Node, to: string, port: number, bytes: Uint8Array, segmentSize: number = bytes.length, link = 1): void {
  const { batch } = node
  const row = batch.count++
  batch.link[row] = link
  batch.address.set(encodeAddress(to, port)!, row * ADDRESS_SIZE)
  batch.offset[row] = batch.base + batch.used
  batch.length[row] = bytes.length
  batch.segmentSize[row] = segmentSize
  node.host.arena.bytes.set(bytes, batch.base + batch.used)
  batch.used += bytes.length
}

/** Hands the batch over and resolves, with the rows taken, when it is done. */
export async function sendAll(node: Node): Promise<number> {
  let taken = 0
  await new Promise<void>((resolve) => {
    node.host.inCall = true
    taken = node.driver.send(node.batch, resolve)
    node.host.inCall = false
  })
  node.batch.reset(node.slab, SLAB_SIZE)
  return taken
}

export async function until(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  const end = Date.now() + timeoutMs
  while (!condition()) {
    if (Date.now() > end) throw new Error('the condition was not met in time')
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

export function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}

type Sent = (error: Error | null, bytes: number) => void

/** A dgram socket whose kernel the test plays. */
export class FakeSocket extends EventEmitter {
  readonly sends: { readonly bytes: Uint8Array; readonly port: number; readonly host: string; readonly sent: Sent }[] = []
  bindError: string | undefined
  queued = 0
  closed = false
  readonly #address: string

  constructor(address = '::') {
    super()
    this.#address = address
  }

  get asSocket(): Socket {
    return this as unknown as Socket
  }

  bind(options: { port: number }, listening: () => void): void {
    if (this.bindError !== undefined) {
      this.emit('error', Object.assign(new Error(`bind ${this.bindError}`), { code: this.bindError }))
      return
    }
    this.port = options.port === 0 ? 40_000 : options.port
    listening()
  }

  port = 0
  address(): { address: string; port: number } {
    return { address: this.#address, port: this.port }
  }

  setRecvBufferSize(size: number): void {
    if (size > 1 << 20) throw new Error('ENOBUFS')
    this.receiveBuffer = size
  }

  receiveBuffer = 0
  setSendBufferSize(): void {
    throw new Error('ENOBUFS')
  }

  getRecvBufferSize(): number {
    return this.receiveBuffer
  }

  getSendBufferSize(): number {
    return 425_984
  }

  getSendQueueSize(): number {
    if (this.closed) throw new Error('getSendQueueSize of a closed socket')
    return this.queued
  }

  send(bytes: Uint8Array, port: number, host: string, sent: Sent): void {
    this.queued += bytes.length
    this.sends.push({ bytes, port, host, sent })
  }

  /** The kernel took (or refused) the oldest sends. */
  complete(count: number, code?: string): void {
    for (const { bytes, sent } of this.sends.splice(0, count)) {
      this.queued -= bytes.length
      if (code === undefined) sent(null, bytes.length)
      else sent(Object.assign(new Error(code), { code }), 0)
    }
  }

  close(closed?: () => void): void {
    this.closed = true
    if (closed !== undefined) setImmediate(closed)
  }
}
