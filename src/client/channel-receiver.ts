import type { PosternError } from '../core/base/errors.ts'
import { BoundedQueue } from '../core/base/queue.ts'
import { MESSAGE_COST, MESSAGE_GAP, MESSAGE_REPEATED, type MessageHead } from '../core/wire/ipc/ipc.ts'
import { MessageView, type Message, type MessageHandler } from './message.ts'
import { firstOf, waitIn, type Waiter } from './waiting.ts'

/** `undefined`: the channel ended in good order. */
type Taking = Waiter<Message | undefined>

/**
 * The receiving half of a channel. Messages wait here until they are taken, never more than the credit that was given; taking
 * them gives it back, in steps of a quarter of the window so that the daemon never runs dry and frames stay few.
 */
export class ChannelReceiver {
  readonly #reliable: boolean
  readonly #window: number
  readonly #giveBack: (cost: number) => void
  readonly #queue: BoundedQueue<Message>
  readonly #taking = new Set<Taking>()
  readonly #view = new MessageView()
  #handler: MessageHandler | undefined
  /** What the daemon may still send; below zero once. */
  #balance: number
  /** Taken and not yet given back. */
  #taken = 0
  /** Number of the last message that was taken, on an unreliable channel of the last one that came; -1 = none. */
  #last = -1
  /** Messages that came over an earlier connection and earn no credit. */
  #unearned = 0
  #end: { readonly error: PosternError | undefined } | undefined

  constructor(reliable: boolean, window: number, giveBack: (cost: number) => void) {
    this.#reliable = reliable
    this.#window = window
    this.#balance = window
    this.#giveBack = giveBack
    // Each message costs at least 32, and the last may take the balance below zero. An unreliable channel may hold as much again from before.
    this.#queue = new BoundedQueue((reliable ? 1 : 2) * this.#countMax)
  }

  get #countMax(): number {
    return Math.ceil(this.#window / MESSAGE_COST) + 1
  }

  /** What the daemon need not repeat after a lost connection: the number of the last message, if there was one. */
  get received(): number | undefined {
    return this.#last < 0 ? undefined : this.#last
  }

  /**
   * There is a connection again, and the credit is what it was at first. What waits here untaken on a reliable channel is
   * repeated by the daemon, so that it is never here twice, however often connections are lost.
   */
  resume(): void {
    if (this.#reliable) this.#queue.clear()
    while (this.#queue.size > this.#countMax) this.#queue.shift()
    this.#unearned = this.#queue.size
    this.#balance = this.#window
    this.#taken = 0
  }

  /** Messages that wait to be taken. */
  get waiting(): number {
    return this.#queue.size
  }

  /** A message of the daemon: `false` when it was sent without credit. What a handler throws is thrown on its own, later. */
  deliver(head: MessageHead, bytes: Uint8Array, offset: number, length: number): boolean {
    if (this.#balance <= 0) return false
    this.#balance -= length + MESSAGE_COST
    if ((head.flags & MESSAGE_REPEATED) !== 0 && this.#last >= 0 && ((head.second - this.#last) | 0) <= 0) {
      this.#giveCredit(length)
      return true
    }
    if (!this.#reliable) this.#last = head.second
    const gapBefore = (head.flags & MESSAGE_GAP) !== 0
    if (this.#handler !== undefined) {
      this.#handle(this.#handler, bytes, offset, length, head.second, gapBefore)
      return true
    }
    // Copied once: the buffer below is read into again.
    const message: Message = { bytes: new Uint8Array(bytes.subarray(offset, offset + length)), id: head.second, gapBefore }
    const taker = firstOf(this.#taking)
    if (taker === undefined) return this.#queue.push(message)
    this.#take(message.id, length)
    taker.resolve(message)
    return true
  }

  /** From now on every message goes to `handler`, those that wait first; `undefined` lets them wait again. */
  setHandler(handler: MessageHandler | undefined): void {
    this.#handler = handler
    while (this.#handler !== undefined) {
      const message = this.#queue.shift()
      if (message === undefined) return
      this.#handle(this.#handler, message.bytes, 0, message.bytes.length, message.id, message.gapBefore)
    }
  }

  /** The next message, `undefined` after the last one of a channel that ended in good order. */
  receive(signal: AbortSignal | undefined): Promise<Message | undefined> {
    const message = this.#queue.shift()
    if (message !== undefined) {
      this.#take(message.id, message.bytes.length)
      return Promise.resolve(message)
    }
    if (this.#end !== undefined) return this.#end.error === undefined ? Promise.resolve(undefined) : Promise.reject(this.#end.error)
    return waitIn<Message | undefined, Taking>(this.#taking, signal, (waiter) => waiter)
  }

  /** No more will come. `error` = it did not end in good order. */
  close(error: PosternError | undefined): void {
    this.#end ??= { error }
    for (const taker of [...this.#taking]) {
      if (error === undefined) taker.resolve(undefined)
      else taker.reject(error)
    }
  }

  /** Not a generator: that would cost three promises a message instead of one. Leaving the loop early leaves the channel open. */
  iterate(): AsyncIterator<Message, undefined, undefined> {
    const end = { done: true, value: undefined } as const
    const next = async (): Promise<IteratorResult<Message, undefined>> => {
      const message = await this.receive(undefined)
      return message === undefined ? end : { done: false, value: message }
    }
    return { next, return: () => Promise.resolve(end) }
  }

  #handle(handler: MessageHandler, bytes: Uint8Array, offset: number, length: number, id: number, gapBefore: boolean): void {
    const view = this.#view
    view.bytes = bytes
    view.offset = offset
    view.length = length
    view.id = id
    view.gapBefore = gapBefore
    try {
      handler(view)
    } catch (error) {
      // The app's mistake, not the connection's: it surfaces as an uncaught exception, and the frames behind are still read.
      queueMicrotask(() => {
        throw error
      })
    }
    this.#take(id, length)
  }

  #take(id: number, length: number): void {
    if (this.#reliable) this.#last = id
    if (this.#unearned > 0) this.#unearned--
    else this.#giveCredit(length)
  }

  #giveCredit(length: number): void {
    this.#taken += length + MESSAGE_COST
    if (this.#taken * 4 < this.#window || this.#end !== undefined) return
    const cost = this.#taken
    this.#taken = 0
    this.#balance += cost
    this.#giveBack(cost)
  }
}
