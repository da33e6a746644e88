import type { Notice, noticeReasons } from '../core/wire/ipc/ipc.ts'
import { isTagAfter } from '../core/wire/ipc/ipc-retained.ts'

/** `none`: lost on its way. `disconnected`: the connection to the daemon was, before it had the message. */
export type DropCause = (typeof noticeReasons)[number] | 'disconnected'

/**
 * What became of a message. `delivered`: the peer's daemon has it. `dropped`: given up, here or by the daemon; should it arrive after all, which
 * a spurious loss can bring about, nothing more is said. `unknown`: the channel ended first.
 */
export type MessageFate =
  | { readonly outcome: 'delivered' }
  | { readonly outcome: 'dropped'; readonly reason: DropCause }
  | { readonly outcome: 'unknown' }

/** `count` messages, neighbours in order of sending, were dropped for one reason. */
export type DroppedHandler = (dropped: { readonly reason: DropCause; readonly count: number }) => void

type FateHandler = (fate: MessageFate) => void

const DELIVERED: MessageFate = { outcome: 'delivered' }
const UNKNOWN: MessageFate = { outcome: 'unknown' }

/** Who waits to hear what became of messages of one channel. BOUNDED by the sender, who asks {@link size}. */
export class SentFates {
  onDropped: DroppedHandler | undefined
  readonly #waiting = new Map<number, FateHandler>()

  get size(): number {
    return this.#waiting.size
  }

  expect(tag: number, handler: FateHandler): void {
    this.#waiting.set(tag, handler)
  }

  /** The daemon tells what it knows once more after a lost connection: tags that nobody waits for are old news. */
  notice({ what, reason, firstTag, lastTag }: Notice): void {
    const fate: MessageFate = what === 'delivered' ? DELIVERED : { outcome: 'dropped', reason }
    if (fate.outcome === 'dropped' && this.onDropped !== undefined) this.#call(this.onDropped, { reason, count: lastTag - firstTag + 1 })
    if (lastTag - firstTag < this.#waiting.size) {
      for (let tag = firstTag; tag <= lastTag; tag++) this.#settle(tag, fate)
    } else {
      for (const tag of [...this.#waiting.keys()]) if (tag >= firstTag && tag <= lastTag) this.#settle(tag, fate)
    }
  }

  /** The connection was lost, and with it everything behind this tag (0: everything) that is not sent again. */
  lost(acceptedTag: number): void {
    for (const tag of [...this.#waiting.keys()]) {
      if (acceptedTag === 0 || isTagAfter(tag, acceptedTag)) this.#settle(tag, { outcome: 'dropped', reason: 'disconnected' })
    }
  }

  end(): void {
    for (const tag of [...this.#waiting.keys()]) this.#settle(tag, UNKNOWN)
  }

  #settle(tag: number, fate: MessageFate): void {
    const handler = this.#waiting.get(tag)
    if (handler === undefined) return
    this.#waiting.delete(tag)
    this.#call(handler, fate)
  }

  #call<T>(handler: (value: T) => void, value: T): void {
    try {
      handler(value)
    } catch (error) {
      // The app's mistake, not the connection's: it surfaces as an uncaught exception, and the frames behind are still read.
      queueMicrotask(() => {
        throw error
      })
    }
  }
}
