import type { Socket } from 'node:net'
import { encodeAddress, equalAddress } from '../core/base/address.ts'
import type { Counters } from '../core/base/counters.ts'
import { after, never, toInstant, type Instant } from '../core/base/time.ts'
import type { LinkId, LinkInfo } from '../core/endpoint/contract.ts'
import { endOf, reasonOf, type TcpEnd, type TcpEndReason } from './tcp-end.ts'
import { RECORD_LENGTH_MAX, TCP_PREFACE, TcpFramer } from './tcp-framing.ts'
import type { TcpLimits } from './tcp-limits.ts'
import { TcpOutbox, type ScratchPool } from './tcp-outbox.ts'
import { RecordWatch } from './tcp-record-watch.ts'
import type { TcpCounter } from './tcp-counters.ts'
import type { TcpSystem } from './tcp-system.ts'

/** What a connection needs of the driver. All but `opened` and `record` only take note: the host hears of it in the loop's next check phase. */
export interface TcpOwner {
  readonly system: TcpSystem
  readonly limits: TcpLimits
  readonly counters: Counters<TcpCounter>
  readonly scratches: ScratchPool
  /** Both prefaces are here: names the link. */
  opened(connection: TcpConnection, info: LinkInfo): LinkId
  /** One datagram, at `offset` of `source`, to be copied before this returns. The host may end the connection in it. */
  record(connection: TcpConnection, source: Uint8Array, offset: number, length: number): void
  /** {@link TcpConnection.deadline} has another value. */
  deadlineMoved(connection: TcpConnection): void
  /** {@link TcpConnection.attend} and a look at {@link TcpConnection.unsent} are due. */
  attention(connection: TcpConnection): void
  /** Exactly once. */
  ended(connection: TcpConnection, end: TcpEnd): void
}

//  dialed    connecting ──connect: write preface──▶ greeting ──preface──────────────────────▶ open ──close──▶ closing ──▶ gone
//  accepted                                         greeting ──preface: write preface───────▶ open      (flush, FIN, their FIN)
//  all       ──FIN, RST, error, bad bytes, deadline──▶ gone
type State =
  | { readonly kind: 'connecting'; readonly until: Instant }
  | { readonly kind: 'greeting'; readonly until: Instant }
  /** `until` is `never` once the host has confirmed it. */
  | { readonly kind: 'open'; readonly until: Instant }
  | { readonly kind: 'closing'; readonly until: Instant }
  | { readonly kind: 'gone' }

/** Datagrams of one row; each becomes a record. */
const SEGMENTS_MAX = 64

/** The socket writes from it, nobody writes into it. */
const preface = Buffer.from(TCP_PREFACE)

/** One TCP connection: preface, records in, records out, and every way in which it can end. Which connections may exist is the driver's. */
export class TcpConnection {
  readonly slot: number
  /** 18 bytes. */
  readonly remote: Uint8Array
  /** Of the dial, for a connection that this side dialed. */
  readonly token: number | undefined
  /** Set when it opened; kept after its end, so that the host can be told. */
  link: LinkId | undefined
  info: LinkInfo | undefined
  /** What the host was told last. */
  blocked = false
  /** For the driver's use: it is in the list of connections to attend; number of the last transmit batch with rows for it. */
  attended = false
  sentIn = 0
  readonly #owner: TcpOwner
  readonly #socket: Socket
  readonly #framer: TcpFramer
  readonly #outbox: TcpOutbox
  readonly #since: Instant
  #state: State
  readonly #record: RecordWatch
  #writeUntil: Instant = never
  #paused = false
  /** The bytes allowed before `confirm` are used up. */
  #limited = false
  /** Their FIN came while the host had paused us: told after what came before it. */
  #ended = false

  constructor(owner: TcpOwner, socket: Socket, options: { slot: number; remote: Uint8Array; token: number | undefined }) {
    const { limits } = owner
    this.#owner = owner
    this.#socket = socket
    this.slot = options.slot
    this.remote = options.remote
    this.token = options.token
    this.#framer = new TcpFramer(limits.unconfirmedBytes)
    this.#outbox = new TcpOutbox(socket, owner.scratches, () => this.#onProgress())
    this.#record = new RecordWatch(owner.system, limits)
    this.#since = owner.system.now()
    this.#state = this.dialed ? { kind: 'connecting', until: after(this.#since, limits.connect) } : { kind: 'greeting', until: after(this.#since, limits.preface) }
    if (this.dialed) socket.once('connect', () => this.#onConnect())
    socket.on('data', (chunk: Buffer) => this.#onData(chunk))
    socket.on('end', () => this.#onEnd())
    socket.on('error', (error) => this.finish(reasonOf(error), error))
    socket.on('close', () => this.finish('reset'))
  }

  get dialed(): boolean {
    return this.token !== undefined
  }

  get isOpen(): boolean {
    return this.#state.kind === 'open'
  }

  get isClosing(): boolean {
    return this.#state.kind === 'closing'
  }

  /** Bytes that the kernel has not taken. */
  get unsent(): number {
    return this.#outbox.unsent
  }

  /** The earliest of its deadlines. */
  get deadline(): Instant {
    const until = this.#state.kind === 'gone' ? never : this.#state.until
    return toInstant(Math.min(until, this.#record.until, this.#writeUntil))
  }

  onDeadline(now: Instant): void {
    const state = this.#state
    if (state.kind === 'gone') return
    if (state.until <= now) {
      const reasons = { connecting: 'connect_timeout', greeting: 'preface_timeout', open: 'confirm_timeout', closing: this.unsent > 0 ? 'undelivered' : 'local' } as const
      this.finish(reasons[state.kind])
    } else if (this.#writeUntil <= now) {
      this.finish('slow_reader')
    } else if (this.#record.until <= now) {
      this.finish('record_timeout')
    } else {
      this.#owner.deadlineMoved(this)
    }
  }

  /** Whole records, in the first `length` bytes of `scratch`; whose it is afterwards: {@link TcpOutbox.write}. */
  write(scratch: Buffer, length: number): boolean {
    const lent = this.#outbox.write(scratch, length)
    this.#owner.counters.add('tcp_writes')
    if (this.unsent > 0) {
      this.#owner.counters.add('tcp_writes_waited')
      if (this.#writeUntil === never) this.#watchWrite()
    }
    return lent
  }

  confirm(): void {
    if (this.#state.kind !== 'open' || this.#state.until === never) return
    this.#owner.counters.add('tcp_confirmed')
    this.#state = { kind: 'open', until: never }
    this.#owner.deadlineMoved(this)
    this.#framer.lift()
    if (!this.#limited) return
    this.#limited = false
    this.#owner.attention(this)
  }

  pause(): void {
    if (!this.isOpen || this.#paused) return
    this.#owner.counters.add('tcp_paused')
    this.#paused = true
    this.#holdReading()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#owner.attention(this)
  }

  /** Goes on reading where `confirm` or `resume` allowed it, with what was read already first. */
  attend(): void {
    if (!this.#mayRead() || !this.#socket.isPaused()) return
    this.#read()
    if (this.#mayRead()) this.#socket.resume()
  }

  /** The orderly end: what is queued, FIN, then theirs. */
  close(): void {
    if (this.#state.kind !== 'open') return
    this.#state = { kind: 'closing', until: after(this.#owner.system.now(), this.#owner.limits.linger) }
    this.#record.stop()
    this.#writeUntil = never
    this.#owner.deadlineMoved(this)
    this.#framer.drop()
    // Read on, for nobody: a socket closed with unread bytes sends RST, and that may destroy at the other side what was just delivered.
    this.#socket.resume()
    if (this.#ended) this.#onEnd()
    else if (this.unsent === 0) this.#socket.end()
  }

  /** The end, at once: the first reason given is the one that counts. */
  finish(reason: TcpEndReason, error?: Error): void {
    const { kind } = this.#state
    if (kind === 'gone') return
    this.#state = { kind: 'gone' }
    this.#framer.drop()
    this.#owner.counters.add('tcp_unsent_lost_bytes', this.#outbox.drop())
    // RST frees both sides at once and leaves no TIME_WAIT behind for who made us end it; Node sends none before it is connected.
    const orderly = kind === 'connecting' || reason === 'local' || reason === 'peer_closed'
    if (orderly || this.#socket.destroyed) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
    this.#owner.ended(this, endOf(reason, error, kind === 'closing'))
  }

  #onConnect(): void {
    const { system, limits } = this.#owner
    if (this.#state.kind !== 'connecting') return
    const local = this.#local()
    // A dial to an unused port of this machine can meet itself: the system may choose that very port to dial from.
    if (local !== undefined && equalAddress(local, 0, this.remote, 0)) {
      this.finish('own_address')
      return
    }
    this.#setState({ kind: 'greeting', until: after(system.now(), limits.preface) })
    this.#socket.write(preface)
  }

  #onData(chunk: Buffer): void {
    if (this.#state.kind !== 'greeting' && this.#state.kind !== 'open') return
    // A plain view: looking into a Buffer makes Buffers, at twice the price.
    this.#framer.feed(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length))
    this.#read()
  }

  #mayRead(): boolean {
    return this.isOpen && !this.#paused && !this.#limited
  }

  #read(): void {
    const framer = this.#framer
    let completed = false
    while (!this.#paused) {
      const step = framer.next()
      switch (step) {
        case 'record':
          completed = true
          this.#owner.record(this, framer.source, framer.offset, framer.length)
          if (!this.isOpen) return
          break
        case 'preface':
          if (!this.#onPreface()) return
          break
        case 'more':
          this.#record.look(framer, completed)
          this.#owner.deadlineMoved(this)
          if (this.#ended) this.#onEnd()
          return
        case 'limit':
          this.#owner.counters.add('tcp_unconfirmed_held')
          this.#limited = true
          this.#holdReading()
          return
        case 'bad_preface':
        case 'bad_length':
          this.finish(step)
          return
      }
    }
  }

  #onPreface(): boolean {
    const { system, limits } = this.#owner
    const local = this.#local()
    if (local === undefined) {
      this.finish('reset')
      return false
    }
    if (!this.dialed) this.#socket.write(preface)
    this.#setState({ kind: 'open', until: after(this.dialed ? system.now() : this.#since, limits.confirm) })
    this.info = { kind: 'tcp', local, remote: this.remote, dialed: this.dialed, datagramMax: RECORD_LENGTH_MAX, segmentsMax: SEGMENTS_MAX }
    this.link = this.#owner.opened(this, this.info)
    return this.isOpen
  }

  #onEnd(): void {
    this.#ended = true
    switch (this.#state.kind) {
      case 'gone':
        return
      case 'connecting':
      case 'greeting':
        this.finish('before_preface')
        return
      case 'open':
        // What came before the end is told before it, unless nobody is there to be told.
        if (this.#paused && this.#framer.pending) return
        this.finish(this.#framer.begun || this.#framer.pending ? 'inside_record' : 'peer_closed')
        return
      case 'closing':
        this.finish(this.unsent > 0 ? 'undelivered' : 'local')
    }
  }

  /** Called from the completion of a write. */
  #onProgress(): void {
    if (this.#state.kind === 'gone') return
    if (this.#state.kind === 'closing') {
      if (this.unsent === 0) this.#socket.end()
      return
    }
    this.#watchWrite()
    this.#owner.attention(this)
  }

  #watchWrite(): void {
    this.#writeUntil = this.unsent === 0 ? never : after(this.#owner.system.now(), this.#owner.limits.slowReader)
    this.#owner.deadlineMoved(this)
  }

  #holdReading(): void {
    this.#socket.pause()
    this.#record.stop()
    this.#owner.deadlineMoved(this)
  }

  #setState(state: State): void {
    this.#state = state
    this.#owner.deadlineMoved(this)
  }

  /** 18 bytes, `undefined` when the system has forgotten the connection already. */
  #local(): Uint8Array | undefined {
    const { localAddress, localPort } = this.#socket
    return localAddress === undefined || localPort === undefined ? undefined : encodeHost(localAddress, localPort)
  }
}

/** The 18 bytes of an address as Node writes it, with its zone left out. */
export function encodeHost(host: string, port: number): Uint8Array | undefined {
  const zone = host.indexOf('%')
  return encodeAddress(zone < 0 ? host : host.slice(0, zone), port)
}
