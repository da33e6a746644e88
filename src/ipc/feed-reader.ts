import { utf8 } from '../core/base/bytes.ts'
import { encodeEvent } from '../core/wire/ipc/ipc-json.ts'
import type { ClientOutbox } from './client-outbox.ts'
import type { EventFeed } from './handler.ts'

/** Takes events out of a client's feed as its socket has room: a client that reads slowly gets fewer of them, not older ones. */
export class FeedReader {
  /** Asks for a turn in which {@link pump} is called. */
  readonly #wake: () => void
  #feed: EventFeed | undefined
  /** There may be something in it. */
  #waits = false

  constructor(wake: () => void) {
    this.#wake = wake
  }

  set(feed: EventFeed | undefined): void {
    this.#feed = feed
    this.ready()
  }

  ready(): void {
    this.#waits = this.#feed !== undefined
    if (this.#waits) this.#wake()
  }

  /** Whether {@link pump} would write something, as far as is known. */
  hasWork(outbox: ClientOutbox): boolean {
    return this.#waits && outbox.takesEvents
  }

  pump(outbox: ClientOutbox, write: (event: Uint8Array) => void): void {
    while (this.#waits && outbox.takesEvents) {
      const event = this.#feed?.next()
      if (event === undefined) this.#waits = false
      else write(utf8(encodeEvent(event.name, event.params)))
    }
  }
}
