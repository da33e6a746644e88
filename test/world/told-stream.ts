import type { DeliveryMode } from '../../src/core/base/domain.ts'
import { dropReasons, NOTICE_DELIVERED } from '../../src/core/endpoint/contract.ts'
import { isContent, NAMED_MIN, numberOf } from './content.ts'
import { Stream } from './conversation.ts'
import { hold } from './failure.ts'

/**
 * One direction of one channel whose sender hears what becomes of every message, and on which messages may be dropped: by deadline, by policy,
 * because a newer one came, or with the channel. Tags are the message's number + 1. What must hold:
 *
 * - exactly one notice for each message, before the end of the channel is told;
 * - nothing comes twice, nothing comes that was not sent; in modes reliable-ordered and latest numbers only rise;
 * - on a channel that ended in good order, what was said to be delivered has come (reliable modes), and the newest value too (latest).
 */
export class ToldStream extends Stream {
  readonly mode: DeliveryMode
  /** What became of each message, by number. */
  readonly fates: Map<number, string> = new Map()
  readonly #came = new Set<number>()
  #newest = -1

  constructor(number: number, mode: DeliveryMode) {
    super(number, mode.startsWith('reliable'))
    this.mode = mode
  }

  override get through(): boolean {
    return this.fates.size === this.sent.length
  }

  override onNotice(what: number, reason: number, firstTag: number, lastTag: number): void {
    for (let tag = firstTag; tag <= lastTag; tag++) {
      const number = tag - 1
      hold(this.sent[number] !== undefined, () => `stream ${this.number}: a notice of message ${number}, ${this.sent.length} were sent`)
      hold(!this.fates.has(number), () => `stream ${this.number}: a second notice of message ${number}`)
      this.fates.set(number, what === NOTICE_DELIVERED ? 'delivered' : dropReasons[reason]!)
    }
  }

  protected override check(bytes: Uint8Array, offset: number, length: number): void {
    hold(length >= NAMED_MIN, () => `stream ${this.number}: a message of ${length} bytes came, none was sent`)
    const number = numberOf(bytes, offset)
    hold(this.sent[number] === length && isContent(bytes, offset, length, this.number, number), () => `stream ${this.number}: message ${number} of ${length} bytes was never sent`)
    hold(!this.#came.has(number), () => `stream ${this.number} (${this.mode}): message ${number} came twice`)
    hold(number > this.#newest || (this.mode !== 'latest' && this.mode !== 'reliable-ordered'), () => `stream ${this.number} (${this.mode}): message ${number} came after ${this.#newest}`)
    this.#came.add(number)
    this.#newest = Math.max(this.#newest, number)
  }

  override onSenderEnded(): void {
    hold(this.through, () => `stream ${this.number}: the end was told with ${this.fates.size} notices of ${this.sent.length} messages`)
  }

  override verify(): void {
    const delivered = [...this.fates].filter(([, fate]) => fate === 'delivered').map(([number]) => number)
    if (this.reliable) {
      const missing = delivered.find((number) => !this.#came.has(number))
      hold(missing === undefined, () => `stream ${this.number}: message ${missing} was said to be delivered and did not come`)
    } else if (this.mode === 'latest') {
      const last = Math.max(-1, ...delivered)
      hold(this.#newest >= last, () => `stream ${this.number}: value ${last} was delivered, ${this.#newest} is the newest that came`)
    }
  }
}
