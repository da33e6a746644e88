import { ADDRESS_SIZE, formatAddress } from '../core/base/address.ts'
import { writeU16 } from '../core/base/bytes.ts'
import type { LinkId } from '../core/base/domain.ts'
import { PosternError } from '../core/base/errors.ts'
import type { LinkInfo, LinkState, TransmitBatch } from '../core/endpoint/contract.ts'
import type { SimNetwork } from './network.ts'
import type { Scheduler } from './scheduler.ts'
import { SimReceiver, type SimDriverHost, type SimDriverLink } from './sim-receiver.ts'
import type { StreamSide } from './stream.ts'

/** As the TCP driver reports them. */
const RECORD_MAX = 16_349
const SEGMENTS_MAX = 64
const FIRST_EPHEMERAL_PORT = 40_000
const EPHEMERAL_PORTS = 20_000

export interface SimTcpHost extends SimDriverHost {
  dialFailed(token: number, cause: PosternError): void
}

export interface SimTcpOptions {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  /** It listens at each. */
  readonly addresses: readonly Uint8Array[]
  /** Dials leave from the port that is listened on, as with the addon (decision 078). */
  readonly sharesPort?: boolean
  readonly late?: () => number
}

interface Connection {
  readonly side: StreamSide
  readonly info: LinkInfo
}

/**
 * A TCP driver over a simulated network: one listener at each of its addresses, dials, and connections as links. It keeps the rules of
 * `ConnectionDriver` in `net/driver.ts`, but strangers may stay: what they may do is the affair of the real one's tests.
 */
export class SimTcp {
  readonly kind = 'tcp'
  readonly #host: SimTcpHost
  readonly #network: SimNetwork
  readonly #scheduler: Scheduler
  readonly #addresses: Uint8Array[]
  readonly #sharesPort: boolean
  readonly #receiver: SimReceiver
  readonly #connections = new Map<LinkId, Connection>()
  readonly #dials = new Map<number, () => void>()
  #closing: Promise<void> | undefined
  #open = false
  #port = 0
  #asleep = false
  #sent = 0
  #sentBytes = 0

  constructor(host: SimTcpHost, options: SimTcpOptions) {
    this.#host = host
    this.#network = options.network
    this.#scheduler = options.scheduler
    this.#addresses = [...options.addresses]
    this.#sharesPort = options.sharesPort === true
    this.#receiver = new SimReceiver(host, options.scheduler, false, options.late)
  }

  get size(): number {
    return this.#connections.size
  }

  start(): Promise<void> {
    this.open()
    return Promise.resolve()
  }

  /** As {@link start}, for those who cannot wait. */
  open(): void {
    if (this.#open) return
    this.#open = true
    this.#closing = undefined
    this.#receiver.open()
    for (const address of this.#addresses) this.#listen(address)
  }

  send(batch: TransmitBatch, done: () => void): number {
    const { bytes } = this.#host.arena
    let taken = 0
    for (let row = 0; row < batch.count; row++) {
      const connection = this.#connections.get(batch.link[row] as LinkId)
      if (connection === undefined) continue
      taken++
      const end = batch.offset[row]! + batch.length[row]!
      for (let offset = batch.offset[row]!; offset < end; offset += batch.segmentSize[row]!) {
        const record = bytes.slice(offset, Math.min(offset + batch.segmentSize[row]!, end))
        connection.side.send(record)
        this.#sent++
        this.#sentBytes += record.length
      }
    }
    this.#later(done)
    return taken
  }

  links(): readonly SimDriverLink[] {
    return [...this.#connections].map(([id, { side, info }]) => ({ id, info, receiveBuffer: undefined, sendBuffer: undefined, unsent: side.unsent }))
  }

  stats(): Readonly<Record<string, number>> {
    return { tcp_sent_datagrams: this.#sent, tcp_sent_bytes: this.#sentBytes, tcp_received_datagrams: this.#receiver.datagrams, tcp_received_bytes: this.#receiver.bytes }
  }

  dial(from: Uint8Array, to: Uint8Array, token: number): void {
    const local = from.slice(0, ADDRESS_SIZE)
    if (!this.#sharesPort) writeU16(local, ADDRESS_SIZE - 2, FIRST_EPHEMERAL_PORT + this.#port++ % EPHEMERAL_PORTS)
    this.#dials.set(token, this.#network.connect(local, to, (side) => {
      this.#dials.delete(token)
      if (side === 'refused') this.#host.dialFailed(token, new PosternError('refused', `The TCP connection with ${formatAddress(to)} was refused.`))
      else if (side === 'no_answer') this.#host.dialFailed(token, new PosternError('timeout', `The TCP connection with ${formatAddress(to)} was not answered in time.`))
      else this.#opened(side, token)
    }))
  }

  cancelDial(token: number): void {
    const cancel = this.#dials.get(token)
    if (cancel === undefined) return
    cancel()
    this.#dials.delete(token)
    this.#later(() => { this.#host.dialFailed(token, new PosternError('aborted', 'The TCP connection was called off.')) })
  }

  /** What is queued still goes out; the host hears `closed`. */
  closeLink(link: LinkId): void {
    const connection = this.#connections.get(link)
    if (connection === undefined || !this.#connections.delete(link)) return
    connection.side.hooks = undefined
    connection.side.close()
    this.#later(() => { this.#host.changed(link, 'closed', undefined) })
  }

  close(): Promise<void> {
    return this.#closing ??= new Promise((resolve) => {
      for (const address of this.#addresses) this.#network.unlisten(address)
      for (const token of [...this.#dials.keys()]) this.cancelDial(token)
      for (const link of [...this.#connections.keys()]) this.closeLink(link)
      this.#receiver.close()
      this.#open = false
      this.#later(resolve)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ── what happens to it ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** As SIGKILL: its system resets what it had open, and it says nothing any more. */
  stop(): void {
    for (const address of this.#addresses) this.#network.unlisten(address)
    for (const cancel of this.#dials.values()) cancel()
    for (const { side } of this.#connections.values()) {
      side.hooks = undefined
      side.reset()
    }
    this.#connections.clear()
    this.#dials.clear()
    this.#receiver.close()
  }

  /** One of its addresses is another one from now on. Nothing comes through what was made from another host's, and nobody says so. */
  move(at: number, address: Uint8Array): void {
    const before = this.#addresses[at]!
    this.#network.unlisten(before)
    if (!equalHost(before, address)) for (const { side } of this.#connections.values()) if (equalHost(side.local, before)) side.severed = true
    this.#addresses[at] = address
    if (this.#open) this.#listen(address)
  }

  /** This machine knows that its address is gone. */
  breakSevered(): void {
    for (const { side } of [...this.#connections.values()]) if (side.severed) side.fail()
  }

  reset(isPeer: (remote: Uint8Array) => boolean): void {
    for (const { side } of [...this.#connections.values()]) {
      if (!isPeer(side.remote)) continue
      side.peer.fail()
      side.fail()
    }
  }

  setAsleep(asleep: boolean): void {
    this.#asleep = asleep
    for (const { side } of this.#connections.values()) side.asleep = asleep
  }

  #listen(address: Uint8Array): void {
    this.#network.listen(address, (side) => { this.#opened(side, undefined) })
  }

  #opened(side: StreamSide, token: number | undefined): void {
    const { local, remote } = side
    side.asleep = this.#asleep
    const info: LinkInfo = {
      kind: 'tcp', local, remote, dialed: token !== undefined, datagramMax: RECORD_MAX, segmentsMax: SEGMENTS_MAX, ...(token === undefined ? {} : { token }),
    }
    const link = this.#host.opened(info, token)
    this.#connections.set(link, { side, info })
    const say = (state: Exclude<LinkState, 'opened'>, cause?: PosternError): void => { this.#later(() => { this.#host.changed(link, state, cause) }) }
    side.hooks = {
      record: (bytes) => { this.#receiver.receive(link, remote, bytes) },
      blocked: (blocked) => { this.#later(() => { if (this.#connections.has(link)) this.#host.changed(link, blocked ? 'blocked' : 'writable', undefined) }) },
      ended: (how) => {
        if (!this.#connections.delete(link)) return
        say(how, new PosternError('disconnected', `The TCP connection with ${formatAddress(remote)} was ${how === 'closed' ? 'closed by the other side' : 'broken off'}.`))
      },
    }
  }

  #later(act: () => void): void {
    this.#scheduler.at(this.#scheduler.now, act)
  }
}

/** Whether two addresses differ in the port at most. */
export function equalHost(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < ADDRESS_SIZE - 2; i++) if (a[i] !== b[i]) return false
  return true
}
