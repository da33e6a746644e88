import { MESSAGE_COST, type ChannelHandle } from '../../src/core/base/domain.ts'
import { contentOf, isContent, NAMED_MIN, numberOf } from './content.ts'
import { hold } from './failure.ts'
import type { ConversationPlan, ReaderPlan, SpeechPlan } from './plan.ts'
import type { Machine } from './machine.ts'

/** One direction of one channel: what was sent, what came, and that the one is what the other must be. */
export class Stream {
  readonly number: number
  readonly reliable: boolean
  /** Lengths of the messages that `send` queued. */
  readonly sent: number[] = []
  sentCost = 0
  releasedCost = 0
  /** Messages that came. On a reliable stream also the number of the next. */
  received = 0
  receivedCost = 0
  #empty = 0
  readonly #seen = new Set<number>()

  constructor(number: number, reliable: boolean) {
    this.number = number
    this.reliable = reliable
  }

  next(length: number): Uint8Array {
    return contentOf(this.number, this.sent.length, length)
  }

  onQueued(length: number): void {
    this.sent.push(length)
    this.sentCost += length + MESSAGE_COST
  }

  /** Nothing more will come of what was sent so far, as far as the sender is concerned. */
  get through(): boolean {
    return !this.reliable || this.received === this.sent.length
  }

  onNotice(what: number, _reason: number, firstTag: number, lastTag: number): void {
    hold(false, () => `stream ${this.number}: a notice (${what}) of messages ${firstTag} … ${lastTag}, of which none was asked for`)
  }

  /** Its sender was told that the channel is over, one way or another. */
  onSenderEnded(): void {
    // Messages of which nothing is told have nothing to be told.
  }

  /** It ended in good order on both sides: all went through. */
  verify(): void {
    if (this.reliable) hold(this.received === this.sent.length, () => `stream ${this.number}: the sender was told that all is through, ${this.received} of ${this.sent.length} messages came`)
  }

  onReceived(bytes: Uint8Array, offset: number, length: number): void {
    this.check(bytes, offset, length)
    this.received++
    this.receivedCost += length + MESSAGE_COST
  }

  /** That this message may come now. */
  protected check(bytes: Uint8Array, offset: number, length: number): void {
    if (this.reliable) this.#inOrder(bytes, offset, length)
    else this.#atMostOnce(bytes, offset, length)
  }

  #inOrder(bytes: Uint8Array, offset: number, length: number): void {
    const expected = this.sent[this.received]
    hold(expected !== undefined, () => `stream ${this.number}: a message more than the ${this.sent.length} sent (${length} bytes)`)
    hold(length === expected && isContent(bytes, offset, length, this.number, this.received), () => {
      const name = length >= NAMED_MIN ? `number ${numberOf(bytes, offset)}` : 'unnamed'
      return `stream ${this.number}: message ${this.received} of ${expected} bytes was expected, one of ${length} came (${name})`
    })
  }

  #atMostOnce(bytes: Uint8Array, offset: number, length: number): void {
    if (length === 0) {
      this.#empty++
      hold(this.#empty <= this.sent.filter((sent) => sent === 0).length, () => `stream ${this.number}: more empty messages came than were sent`)
      return
    }
    const number = numberOf(bytes, offset)
    hold(this.sent[number] === length && isContent(bytes, offset, length, this.number, number), () => `stream ${this.number}: message ${number} of ${length} bytes was never sent`)
    hold(!this.#seen.has(number), () => `stream ${this.number}: message ${number} came twice`)
    this.#seen.add(number)
  }
}

/** One side of one channel, as its app sees it. */
export class Side {
  readonly incarnation: Incarnation
  readonly machine: Machine
  readonly outgoing: Stream
  readonly incoming: Stream
  readonly reader: ReaderPlan
  readonly opener: boolean
  handle: ChannelHandle | undefined
  state: 'opening' | 'open' | 'closing' | 'closed' = 'opening'
  /** `send` said blocked and `writable` did not come yet. */
  blocked = false
  /** Cost of messages that came and were not consumed yet. */
  unread = 0
  /** The app was told an end that says all went through. */
  clean = false
  /** When its app last got a message. */
  heardAt: number | undefined
  /** Its process was killed, or it broke the channel off: what was under way may be lost. */
  broken = false

  constructor(incarnation: Incarnation, machine: Machine, outgoing: Stream, incoming: Stream, reader: ReaderPlan, opener: boolean) {
    this.incarnation = incarnation
    this.machine = machine
    this.outgoing = outgoing
    this.incoming = incoming
    this.reader = reader
    this.opener = opener
  }

  get speech(): SpeechPlan {
    return this.opener ? this.incarnation.conversation.plan.forward : this.incarnation.conversation.plan.backward
  }

  /** Messages of the plan that are still to be said on this channel. */
  get left(): number {
    return this.speech.lengths.length - this.incarnation.base(this.opener) - this.outgoing.sent.length
  }

  nextLength(): number {
    return this.speech.lengths[this.incarnation.base(this.opener) + this.outgoing.sent.length]!
  }
}

/** One channel of a conversation. When it ends before all is said, another takes it up. */
export class Incarnation {
  readonly conversation: Conversation
  readonly key: number
  readonly opener: Side
  readonly acceptor: Side
  /** Messages that earlier channels took over, forward and backward. */
  readonly #saidForward: number
  readonly #saidBackward: number

  constructor(conversation: Conversation, key: number, from: Machine, to: Machine, said: { readonly forward: number; readonly backward: number }, newStream: (number: number) => Stream) {
    this.conversation = conversation
    this.key = key
    this.#saidForward = said.forward
    this.#saidBackward = said.backward
    const { opener, acceptor } = conversation.plan
    const forward = newStream(2 * key)
    const backward = newStream(2 * key + 1)
    this.opener = new Side(this, from, forward, backward, opener, true)
    this.acceptor = new Side(this, to, backward, forward, acceptor, false)
  }

  base(forward: boolean): number {
    return forward ? this.#saidForward : this.#saidBackward
  }

  other(side: Side): Side {
    return side.opener ? this.acceptor : this.opener
  }

  /** At the end of the world: a channel that ended well on the side that sent has brought everything, unless the other broke off. */
  verify(): void {
    for (const side of [this.opener, this.acceptor]) {
      const stream = side.outgoing
      if (side.clean && !this.other(side).broken) stream.verify()
    }
  }
}

/** What two apps have to say to each other, over as many channels as it takes. */
export class Conversation {
  readonly index: number
  readonly plan: ConversationPlan
  readonly incarnations: Incarnation[] = []
  current: Incarnation | undefined
  done = false
  opens = 0

  constructor(index: number, plan: ConversationPlan) {
    this.index = index
    this.plan = plan
  }

  get said(): { readonly forward: number; readonly backward: number } {
    let forward = 0
    let backward = 0
    for (const { opener, acceptor } of this.incarnations) {
      forward += opener.outgoing.sent.length
      backward += acceptor.outgoing.sent.length
    }
    return { forward, backward }
  }
}
