import { MESSAGE_COST } from '../base/domain.ts'
import type { MemoryAccount } from '../base/memory-account.ts'
import type { MessageRun } from '../base/message-run.ts'
import { never, type Instant } from '../base/time.ts'

const FIRST_CAPACITY = 16
const FIRST_BLOCK = 1024
const LARGEST_BLOCK = 65536
/** A larger message has a block of its own. */
const LARGEST_SHARED = LARGEST_BLOCK / 4

/** What a place of the ring is: a message that waits or is in flight, one that is over, one that was given up and whose SKIP is on its way. */
export const WAITING = 0
export const DONE = 1
export const CANCELLED = 2

/** What its sender wants to hear of a message. */
export const TELL_DROP = 1
export const TELL_DELIVERED = 2

// One empty array of each kind for all queues: most channels are idle most of the time.
const NO_DOUBLES = new Float64Array(0)
const NO_INTS = new Int32Array(0)
const NO_WORDS = new Uint32Array(0)
const NO_BYTES = new Uint8Array(0)

/** Who is told what became of messages. Called for each one that is dropped, and for delivered ones whose sender asked. */
export interface SendOwner {
  onMessageDelivered(tag: number): void
  /** `reason` is an index of `dropReasons`; `told`: the sender wants to know. */
  onMessageDropped(lane: number, reason: number, tag: number, told: boolean): void
}

/**
 * The storage of a send queue: messages by sequence, in three stretches.
 *
 *     base … next     begun: they have a wire id, and wait for their ACK
 *     next            the one that is being cut into fragments, while `nextOffset` > 0
 *     … head          unsent; those dropped meanwhile leave holes, which are closed when the ring is full
 *
 * An unsent message has no id, and no packet knows its sequence: so it may move. Bytes lie in arena blocks: small messages share
 * a block that grows with use, large ones have their own. Columns that few channels need (tags, deadlines) come with the first
 * message that has one. BOUNDED by the owner, who asks before `push` (messages, bytes, arena).
 */
export class SendRing {
  /** Oldest message not done; next to be sent for the first time; next to be pushed. */
  base = 0
  next = 0
  head = 0
  /** Bytes of message `next` that were sent already. */
  nextOffset = 0
  /** Messages not done, and those of them that were not begun. */
  messages = 0
  unsent = 0
  /** Bytes of messages that are kept. */
  bytes = 0
  /** Cost of messages whose bytes are gone, since it was last read by the owner. */
  released = 0
  /** Lane of the messages in it: for the owner's accounts. */
  lane: number
  protected readonly memory: MemoryAccount
  protected readonly owner: SendOwner
  protected mask = -1
  protected offset: Int32Array = NO_INTS
  protected length: Int32Array = NO_INTS
  protected state: Uint8Array = NO_BYTES
  /** Of a begun message its wire id, of an unsent one its order. */
  protected id: Float64Array = NO_DOUBLES
  /** Some message has a tag, or a deadline, since the queue last ran empty. */
  protected tagged = false
  protected timed = false
  protected deadline: Float64Array = NO_DOUBLES
  #tag: Uint32Array = NO_WORDS
  #tell: Uint8Array = NO_BYTES
  #block: Int32Array = NO_INTS
  /** Nothing unsent lies before it, except at `next`. */
  #first = 0
  #current = -1
  #currentFill = 0
  #blockSize = FIRST_BLOCK
  #placedIn = -1

  constructor(lane: number, memory: MemoryAccount, owner: SendOwner) {
    this.lane = lane
    this.memory = memory
    this.owner = owner
  }

  get hasNew(): boolean {
    return this.unsent > 0 || this.nextOffset > 0
  }

  /** Length of the next message to be sent for the first time; only when {@link hasNew}. */
  get nextLength(): number {
    return this.length[(this.nextOffset > 0 ? this.next : this.oldestUnsent()) & this.mask]!
  }

  /**
   * Copies a message in. `false` when the arena has no room; nothing changed then.
   * @param tell TELL_ bits
   * @param order tells which of the messages of several queues is oldest
   */
  push(bytes: Uint8Array, offset: number, length: number, tag = 0, tell = 0, deadline: Instant = never, order = 0): boolean {
    const at = this.#place(length)
    if (at < 0) return false
    if (this.head - this.base > this.mask) this.#makeRoom()
    const i = this.head & this.mask
    if (length > 0) this.memory.arena.bytes.set(offset === 0 && length === bytes.length ? bytes : bytes.subarray(offset, offset + length), at)
    this.offset[i] = at
    this.#block[i] = length === 0 ? -1 : this.#placedIn
    this.length[i] = length
    this.state[i] = WAITING
    this.id[i] = order
    if (tell !== 0 || this.tagged) this.#label(i, tag, tell)
    if (deadline !== never || this.timed) this.#date(i, deadline)
    this.head++
    this.unsent++
    this.messages++
    this.bytes += length
    return true
  }

  /**
   * Copies messages in from row `from` on, with what lies between them, in one piece: as many of `count` as one block holds. Returns how many; 0 when
   * the arena has no room, or the first is too large to share a block. The tags of a run that has some are named when a message is dropped.
   */
  pushRun(run: MessageRun, from: number, count: number, order: number): number {
    const { offset, length, tag } = run
    const start = offset[from]!
    const most = start + LARGEST_BLOCK
    let taken = 0
    let end = start
    while (taken < count && length[from + taken]! <= LARGEST_SHARED && offset[from + taken]! + length[from + taken]! <= most) {
      end = offset[from + taken]! + length[from + taken]!
      taken++
    }
    if (taken === 0) return 0
    const at = end > start ? this.#share(end - start, taken) : 0
    if (at < 0) return 0
    while (this.head + taken - this.base - 1 > this.mask) this.#makeRoom()
    if (end > start) this.memory.arena.bytes.set(run.bytes.subarray(start, end), at)
    const mask = this.mask
    const block = end > start ? this.#placedIn : -1
    const shift = at - start
    for (let k = 0; k < taken; k++) {
      const i = (this.head + k) & mask
      const row = from + k
      this.offset[i] = offset[row]! + shift
      this.length[i] = length[row]!
      this.#block[i] = block
      this.state[i] = WAITING
      this.id[i] = order + k
      this.bytes += length[row]!
      if (tag[row] !== 0 || this.tagged) this.#label(i, tag[row]!, tag[row] === 0 ? 0 : TELL_DROP)
      if (this.timed) this.#date(i, never)
    }
    this.head += taken
    this.unsent += taken
    this.messages += taken
    return taken
  }

  /** What {@link push} was told of the oldest unsent message; only when there is one. */
  get oldestOrder(): number {
    return this.id[this.oldestUnsent() & this.mask]!
  }

  /** Drops the oldest unsent message; only when there is one. Its cost counts as released. */
  dropOldest(reason: number): void {
    this.dropUnsent(this.oldestUnsent(), reason)
  }

  /** Gives back what an empty queue still holds: called when the session falls idle. */
  trim(): void {
    if (this.messages > 0) return
    this.head = this.next
    this.#first = this.head
    if (this.#current >= 0) this.memory.release(this.#current)
    this.#current = -1
    this.#blockSize = FIRST_BLOCK
    this.tagged = false
    this.timed = false
    this.#tag = NO_WORDS
    this.#tell = NO_BYTES
    this.deadline = NO_DOUBLES
    if (this.mask < FIRST_CAPACITY) return
    this.mask = -1
    this.#block = NO_INTS
    this.offset = NO_INTS
    this.length = NO_INTS
    this.state = NO_BYTES
    this.id = NO_DOUBLES
  }

  /** Sequence of the oldest unsent message; only when there is one. */
  protected oldestUnsent(): number {
    if (this.nextOffset === 0 && this.state[this.next & this.mask] === WAITING) return this.next
    let sequence = Math.max(this.#first, this.nextOffset > 0 ? this.next + 1 : this.next)
    while (this.state[sequence & this.mask] !== WAITING) sequence++
    this.#first = sequence
    return sequence
  }

  /** Makes the oldest unsent message stand at `next`: what was dropped before it leaves no place behind. */
  protected pullUp(): void {
    const sequence = this.oldestUnsent()
    if (sequence === this.next) return
    this.#move(sequence, this.next)
    this.state[sequence & this.mask] = DONE
    if (this.unsent === 1) this.head = this.next + 1
    this.#first = Math.min(sequence + 1, this.head)
  }

  protected dropUnsent(sequence: number, reason: number): void {
    const i = sequence & this.mask
    this.tellDropped(i, reason)
    this.free(i)
    this.state[i] = DONE
    this.messages--
    this.unsent--
    const from = this.nextOffset > 0 ? this.next + 1 : this.next
    if (this.unsent === 0) {
      this.head = from
      this.#first = from
    } else {
      while (this.state[(this.head - 1) & this.mask] !== WAITING) this.head--
      // What is pushed next stands at `head`: it is not to be passed over.
      this.#first = Math.min(this.#first, this.head)
    }
    if (this.base === this.head) this.#currentFill = 0
  }

  /** A begun message needs no place any more. Its bytes were freed already when it was cancelled. */
  protected settle(sequence: number): void {
    const i = sequence & this.mask
    if (this.state[i] === WAITING) this.free(i)
    this.state[i] = DONE
    this.messages--
    this.advance()
  }

  protected advance(): void {
    while (this.base < this.next && this.state[this.base & this.mask] === DONE) this.base++
    // Nothing in it is needed any more: the block is filled again from its start.
    if (this.base === this.head) this.#currentFill = 0
  }

  protected free(i: number): void {
    const length = this.length[i]!
    this.bytes -= length
    this.released += length + MESSAGE_COST
    if (this.#block[i]! >= 0) this.memory.release(this.#block[i]!)
  }

  /** Whether the sender wants to hear that this message was delivered. */
  protected confirmed(i: number): boolean {
    return this.tagged && (this.#tell[i]! & TELL_DELIVERED) !== 0
  }

  protected tellDelivered(i: number): void {
    this.owner.onMessageDelivered(this.#tag[i]!)
  }

  protected tellDropped(i: number, reason: number): void {
    const told = this.tagged && this.#tell[i] !== 0
    this.owner.onMessageDropped(this.lane, reason, told ? this.#tag[i]! : 0, told)
  }

  /** Room for `length` bytes: an offset, −1 when the arena is full. Sets `#placedIn`. */
  #place(length: number): number {
    if (length === 0) return 0
    const memory = this.memory
    if (length > LARGEST_SHARED) {
      const own = memory.allocate(length)
      this.#placedIn = own
      return own
    }
    return this.#share(length, 1)
  }

  /** Room for `length` bytes in a block that is shared, held `holders` times: an offset, −1 when the arena is full. Sets `#placedIn`. */
  #share(length: number, holders: number): number {
    const memory = this.memory
    if (this.#current < 0 || this.#currentFill + length > memory.arena.sizeOf(this.#current)) {
      const fresh = memory.allocateUpTo(Math.max(this.#blockSize, length), length)
      if (fresh < 0) return -1
      if (this.#current >= 0) {
        memory.release(this.#current)
        this.#blockSize = Math.min(2 * this.#blockSize, LARGEST_BLOCK)
      }
      this.#current = fresh
      this.#currentFill = 0
    }
    const at = this.#current + this.#currentFill
    this.#currentFill += length
    memory.arena.retain(this.#current, holders)
    this.#placedIn = this.#current
    return at
  }

  #label(i: number, tag: number, tell: number): void {
    if (!this.tagged) {
      this.tagged = true
      this.#tag = new Uint32Array(this.mask + 1)
      this.#tell = new Uint8Array(this.mask + 1)
    }
    this.#tag[i] = tag
    this.#tell[i] = tell
  }

  #date(i: number, deadline: Instant): void {
    if (!this.timed) {
      this.timed = true
      this.deadline = new Float64Array(this.mask + 1).fill(Infinity)
    }
    this.deadline[i] = deadline
  }

  #move(from: number, to: number): void {
    const i = from & this.mask
    const j = to & this.mask
    this.offset[j] = this.offset[i]!
    this.length[j] = this.length[i]!
    this.#block[j] = this.#block[i]!
    this.id[j] = this.id[i]!
    this.state[j] = this.state[i]!
    if (this.tagged) {
      this.#tag[j] = this.#tag[i]!
      this.#tell[j] = this.#tell[i]!
    }
    if (this.timed) this.deadline[j] = this.deadline[i]!
  }

  /** Closes the holes when they are at least as many as the unsent messages, else grows: so the ring stays within twice its messages. */
  #makeRoom(): void {
    const from = this.nextOffset > 0 ? this.next + 1 : this.next
    const holes = this.head - from - this.unsent
    if (holes === 0 || holes < this.unsent) {
      this.#grow()
      return
    }
    let to = this.nextOffset === 0 && this.state[from & this.mask] === WAITING ? from + 1 : from
    for (let sequence = Math.max(this.#first, to); sequence < this.head; sequence++) {
      if (this.state[sequence & this.mask] !== WAITING) continue
      if (sequence !== to) this.#move(sequence, to)
      to++
    }
    this.head = to
    this.#first = from
  }

  #grow(): void {
    const capacity = this.mask < 0 ? FIRST_CAPACITY : 2 * (this.mask + 1)
    const mask = capacity - 1
    const move = <T extends Float64Array | Int32Array | Uint32Array | Uint8Array>(from: T, to: T): T => {
      for (let sequence = this.base; sequence < this.head; sequence++) to[sequence & mask] = from[sequence & this.mask]!
      return to
    }
    this.#block = move(this.#block, new Int32Array(capacity))
    this.offset = move(this.offset, new Int32Array(capacity))
    this.length = move(this.length, new Int32Array(capacity))
    this.state = move(this.state, new Uint8Array(capacity))
    this.id = move(this.id, new Float64Array(capacity))
    if (this.tagged) {
      this.#tag = move(this.#tag, new Uint32Array(capacity))
      this.#tell = move(this.#tell, new Uint8Array(capacity))
    }
    if (this.timed) this.deadline = move(this.deadline, new Float64Array(capacity).fill(Infinity))
    this.mask = mask
  }
}
