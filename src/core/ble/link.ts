import { BoundedQueue } from '../base/queue.ts'
import { after, never, toInstant, type Instant } from '../base/time.ts'
import { EarlyValues } from './early-values.ts'
import type { BleLinkLimits } from './limits.ts'
import { Reassembly } from './reassembly.ts'
import {
  ATT_HEADER_SIZE, BLE_DATAGRAM_MAX, BLE_DATAGRAM_MIN_MAX, BLE_VERSION, decodeBleValue, encodeBye, encodeCredit, encodeHello, encodeSegment, OUTSTANDING_MAX,
  type BleValue, type ByeCode,
} from './values.ts'

/**
 * Why a link ended, as it is counted.
 * local: closed here · bye: the other side said so · hello_timeout, credit_timeout, confirm_timeout, stalled: {@link BleLinkLimits} ·
 * version, hello: a HELLO we cannot work with · malformed: a value that is none · flow: more segments than credit allows, or credit for what was not sent
 */
export type BleLinkEnd = 'local' | 'bye' | 'hello_timeout' | 'credit_timeout' | 'confirm_timeout' | 'stalled' | 'version' | 'hello' | 'malformed' | 'flow'

const byeOf: Readonly<Record<Exclude<BleLinkEnd, 'local' | 'bye'>, ByeCode>> = {
  hello_timeout: 'timeout', credit_timeout: 'timeout', confirm_timeout: 'timeout', stalled: 'timeout', version: 'version', hello: 'protocol', malformed: 'protocol', flow: 'protocol',
}

type DataValue = Extract<BleValue, { kind: 'data' }>

/** Whole datagrams that may wait here before the other side gets no more credit (WIRE.md §7). */
const WAITING_MAX = 2
/** Segments still under way when credit was withheld may complete so many more. */
const RECEIVED_MAX: number = WAITING_MAX + OUTSTANDING_MAX

//  hello ──HELLO──▶ open ──close, fault, timeout──▶ closing ──queue (after close only) and BYE sent, linger──▶ ended
//    └─────────────────────────────────────────────────┘   BYE of the other side: ended at once
type State =
  | { readonly kind: 'hello'; readonly deadline: Instant }
  | { readonly kind: 'open' }
  | { readonly kind: 'closing'; readonly deadline: Instant; readonly end: BleLinkEnd }
  | { readonly kind: 'ended'; readonly end: BleLinkEnd }

/**
 * One Bluetooth link (WIRE.md §7): datagrams in, values out, and back. It never has more than `unsentMax` values in the controller, sends data only as
 * the other side's credit allows, and gives credit as it takes segments. Bytes and time are arguments; nothing is called back.
 */
export class BleLink {
  readonly #limits: BleLinkLimits
  readonly #nonce: Uint8Array
  readonly #reassembly = new Reassembly(BLE_DATAGRAM_MAX)
  readonly #early = new EarlyValues()
  /** Values in a row that came after they were given up. */
  #late = 0
  readonly #received = new BoundedQueue<Uint8Array>(RECEIVED_MAX)
  readonly #queue: BoundedQueue<Uint8Array>
  #state: State
  /** What the other side's HELLO said; zeros before. */
  #peerNonce: Uint8Array = new Uint8Array(0)
  #datagramMax = 0
  #credits = 0
  #mtu: number
  #queuedBytes = 0
  /** Bytes of the first datagram in the queue that are on their way. */
  #offset = 0
  /** Segments sent since HELLO, and how many of them the other side says it took. */
  #sent = 0
  #takenThere = 0
  /** What the other side was told of the segments taken here. */
  #announced = 0
  #helloDue = true
  #byeDue: ByeCode | undefined
  /** Values in the controller. */
  #unsent = 0
  #stalledAt: Instant = never
  #creditAt: Instant = never
  #confirmAt: Instant
  #paused = false

  /** @param nonce for our HELLO: random bytes that no other link has */
  constructor(now: Instant, mtu: number, limits: BleLinkLimits, nonce: Uint8Array) {
    this.#limits = limits
    this.#nonce = nonce
    this.#mtu = mtu
    this.#queue = new BoundedQueue(limits.queueMax)
    this.#state = { kind: 'hello', deadline: after(now, limits.hello) }
    this.#confirmAt = after(now, limits.confirm)
  }

  get isOpen(): boolean {
    return this.#state.kind === 'open'
  }

  /** How it ended; what is left of it then is that the radio disconnects. */
  get ended(): BleLinkEnd | undefined {
    return this.#state.kind === 'ended' ? this.#state.end : undefined
  }

  /** Why it ends or has ended. */
  get end(): BleLinkEnd | undefined {
    return this.#state.kind === 'ended' || this.#state.kind === 'closing' ? this.#state.end : undefined
  }

  /** Largest datagram that the other side takes. */
  get datagramMax(): number {
    return this.#datagramMax
  }

  /** Of its HELLO. */
  get peerNonce(): Uint8Array {
    return this.#peerNonce
  }

  get mtu(): number {
    return this.#mtu
  }

  /** Datagrams lost in reassembly so far. */
  get dropped(): number {
    return this.#reassembly.dropped
  }

  /** Bytes of datagrams that no controller has yet. */
  get unsentBytes(): number {
    return this.#queuedBytes - this.#offset
  }

  /** Whether the next datagram should be made now: none waits here, and the controller is about to be idle. */
  get writable(): boolean {
    return this.isOpen && this.#queue.size === 0 && this.#unsent < this.#limits.unsentMax
  }

  setMtu(mtu: number): void {
    this.#mtu = mtu
  }

  confirm(): void {
    this.#confirmAt = never
  }

  /** Stops giving credit once two whole datagrams wait. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
  }

  /** Takes a copy. `full`: dropped, the caller did not heed {@link writable}. */
  send(now: Instant, datagram: Uint8Array): 'queued' | 'full' | 'too-large' | 'closed' {
    if (this.#state.kind !== 'open') return 'closed'
    if (datagram.length > this.#datagramMax) return 'too-large'
    if (this.#queuedBytes + datagram.length > this.#limits.queueBytesMax || !this.#queue.push(new Uint8Array(datagram))) return 'full'
    this.#queuedBytes += datagram.length
    this.#watchCredit(now)
    return 'queued'
  }

  handleValue(now: Instant, bytes: Uint8Array): void {
    if (this.#state.kind === 'ended') return
    const value = decodeBleValue(bytes)
    // What is still to be sent needs credit; nothing else counts any more.
    if (this.#state.kind === 'closing' && value.kind !== 'credit' && value.kind !== 'bye') return
    switch (value.kind) {
      case 'hello': return this.#onHello(now, value)
      case 'data': return this.#onData(now, value)
      case 'credit': return this.#onCredit(now, value.taken)
      case 'bye':
        while (this.#early.size > 0 && this.isOpen) this.#giveUp(now)
        this.#state = { kind: 'ended', end: this.end ?? 'bye' }
        return
      case 'malformed': return this.#fail(now, 'malformed')
      default: value satisfies never
    }
  }

  /** The controller is done with so many values. */
  handleSent(now: Instant, count: number): void {
    this.#unsent = Math.max(0, this.#unsent - count)
    this.#stalledAt = this.#unsent === 0 ? never : after(now, this.#limits.stalled)
    if (this.#state.kind === 'closing' && this.#unsent === 0 && this.#byeDue === undefined) this.#state = { kind: 'ended', end: this.#state.end }
  }

  handleTimeout(now: Instant): void {
    this.#reassembly.handleTimeout(now)
    if (this.#early.deadline <= now) this.#giveUp(now)
    const state = this.#state
    if (state.kind === 'ended') return
    if (state.kind === 'closing') {
      if (state.deadline <= now) this.#state = { kind: 'ended', end: state.end }
    } else if (state.kind === 'hello' && state.deadline <= now) this.#fail(now, 'hello_timeout')
    else if (this.#stalledAt <= now) this.#fail(now, 'stalled')
    else if (this.#creditAt <= now) this.#fail(now, 'credit_timeout')
    else if (this.#confirmAt <= now) this.#fail(now, 'confirm_timeout')
  }

  nextTimeout(): Instant {
    const state = this.#state
    if (state.kind === 'ended') return never
    if (state.kind === 'closing') return state.deadline
    const first = Math.min(this.#stalledAt, this.#creditAt, this.#confirmAt, this.#reassembly.deadline, this.#early.deadline)
    return toInstant(state.kind === 'hello' ? Math.min(first, state.deadline) : first)
  }

  /** Takes nothing more, sends what waits if that goes within {@link BleLinkLimits.linger}, says BYE and ends. */
  close(now: Instant, code: ByeCode): void {
    this.#leave(now, 'local', code)
  }

  /** The next value for the controller; it counts as unsent until {@link handleSent}. */
  pollValue(now: Instant): Uint8Array | undefined {
    if (this.#state.kind === 'ended' || this.#unsent >= this.#limits.unsentMax) return undefined
    const value = this.#control() ?? this.#segment(now) ?? this.#bye()
    if (value === undefined) return undefined
    if (this.#unsent++ === 0) this.#stalledAt = after(now, this.#limits.stalled)
    return value
  }

  /** The next datagram that came in whole. */
  pollDatagram(): Uint8Array | undefined {
    return this.#paused ? undefined : this.#received.shift()
  }

  /** HELLO before all else, and credit before data, so that two senders never wait for one another. */
  #control(): Uint8Array | undefined {
    if (this.#helloDue) {
      this.#helloDue = false
      return encodeHello(BLE_DATAGRAM_MAX, this.#limits.credits, this.#nonce)
    }
    const taken = this.#reassembly.taken
    if (!this.isOpen || taken - this.#announced < this.#limits.credits / 2 || this.#received.size >= WAITING_MAX) return undefined
    this.#announced = taken
    return encodeCredit(taken % 0x1_0000)
  }

  #segment(now: Instant): Uint8Array | undefined {
    const datagram = this.#queue.peek()
    if (datagram === undefined || this.#sent - this.#takenThere >= this.#credits) return undefined
    const value = encodeSegment(datagram, this.#offset, this.#sent++, this.#mtu - ATT_HEADER_SIZE)
    this.#offset += value.length - (this.#offset === 0 ? 3 : 1)
    if (this.#offset === datagram.length) {
      this.#queue.shift()
      this.#queuedBytes -= datagram.length
      this.#offset = 0
    }
    this.#watchCredit(now)
    return value
  }

  #bye(): Uint8Array | undefined {
    if (this.#byeDue === undefined || this.#queue.size > 0) return undefined
    const bye = encodeBye(this.#byeDue)
    this.#byeDue = undefined
    return bye
  }

  /** The clock of {@link BleLinkLimits.credit} runs while data waits for nothing else. */
  #watchCredit(now: Instant): void {
    const waits = this.#state.kind === 'open' && this.#queue.size > 0 && this.#sent - this.#takenThere >= this.#credits
    if (!waits) this.#creditAt = never
    else if (this.#creditAt === never) this.#creditAt = after(now, this.#limits.credit)
  }

  #onHello(now: Instant, { version, datagramMax, credits, nonce }: Extract<BleValue, { kind: 'hello' }>): void {
    if (version !== BLE_VERSION) return this.#fail(now, 'version')
    // A second one would give the credit anew.
    if (this.#state.kind !== 'hello' || datagramMax < BLE_DATAGRAM_MIN_MAX || datagramMax > BLE_DATAGRAM_MAX || credits === 0) return this.#fail(now, 'hello')
    this.#state = { kind: 'open' }
    this.#datagramMax = datagramMax
    this.#peerNonce = nonce
    this.#credits = Math.min(credits, OUTSTANDING_MAX)
  }

  #onData(now: Instant, segment: DataValue): void {
    if (this.#state.kind !== 'open') return this.#fail(now, 'malformed')
    const ahead = this.#reassembly.distance(segment.sequence) - 1
    // The other side knows of what was announced: never may more be under way than its credit.
    if (this.#reassembly.taken + ahead + 1 - this.#announced > this.#limits.credits) {
      // Or it was given up a moment ago, and counted then. An honest sender is never further ahead than its credit, so whatever seems to be is behind.
      if (ahead < this.#limits.credits || ++this.#late > this.#limits.credits) this.#fail(now, 'flow')
      return
    }
    if (ahead === 0) this.#take(now, segment)
    else if (!this.#early.hold(now, segment)) this.#fail(now, 'flow')
    else if (this.#early.isFull) this.#giveUp(now)
  }

  /** What is missing is lost: goes on with the first that is here. */
  #giveUp(now: Instant): void {
    const value = this.#early.takeFirst(now, this.#reassembly.expected)
    if (value !== undefined) this.#take(now, value)
  }

  /** A segment and those that waited for it. */
  #take(now: Instant, first: DataValue): void {
    this.#late = 0
    for (let value: DataValue | undefined = first; value !== undefined && this.#state.kind === 'open'; value = this.#early.take(now, this.#reassembly.expected)) {
      const result = this.#reassembly.take(now, value)
      if (result === 'malformed') this.#fail(now, 'malformed')
      else if (typeof result !== 'string') this.#received.push(result)
    }
  }

  #onCredit(now: Instant, taken: number): void {
    if (this.#state.kind === 'hello') return this.#fail(now, 'malformed')
    const more = (taken - this.#takenThere % 0x1_0000 + 0x1_0000) % 0x1_0000
    if (more > this.#sent - this.#takenThere) {
      // One that a later one has overtaken says nothing new.
      if (0x1_0000 - more > OUTSTANDING_MAX || 0x1_0000 - more > this.#takenThere) this.#fail(now, 'flow')
      return
    }
    this.#takenThere += more
    this.#creditAt = never
    this.#watchCredit(now)
  }

  #fail(now: Instant, end: Exclude<BleLinkEnd, 'local' | 'bye'>): void {
    this.#leave(now, end, byeOf[end])
  }

  #leave(now: Instant, end: BleLinkEnd, code: ByeCode): void {
    if (this.#state.kind === 'closing' || this.#state.kind === 'ended') return
    // A controller that takes nothing takes no BYE either.
    if (end === 'stalled') this.#state = { kind: 'ended', end }
    else this.#state = { kind: 'closing', end, deadline: after(now, this.#limits.linger) }
    // Half a datagram helps nobody who is to go for a fault.
    if (end !== 'local') {
      this.#queue.clear()
      this.#queuedBytes = 0
      this.#offset = 0
    }
    this.#early.clear()
    this.#helloDue = false
    this.#byeDue = code
    this.#creditAt = never
  }
}
