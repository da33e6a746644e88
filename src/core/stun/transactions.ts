import { equalAddress } from '../base/address.ts'
import type { LinkId } from '../base/domain.ts'
import { after, never, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { addressOf, decodeErrorCode, mappedAddressOf, type StunError } from '../wire/stun-attributes.ts'
import { BINDING, checkFingerprint, checkIntegrity, decodeStun, encodeStun, findAttribute, stunAttribute, TRANSACTION_ID_SIZE, unknownRequired, type StunMessage, type StunOptions } from '../wire/stun.ts'
import { giveUpOffset, jitter, sendOffset, STUN_SCHEDULE, type StunSchedule } from './schedule.ts'

/** RFC 8489 §5: behind type, length and magic cookie. */
const TRANSACTION_ID_OFFSET = 8
/** Requests without an answer. When full, `ask` refuses. */
export const TRANSACTIONS_MAX = 64

export type StunCounter = 'stun_requests' | 'stun_repeats' | 'stun_answers' | 'stun_refusals' | 'stun_timeouts' | 'stun_full' | 'drop_stun' | 'drop_stun_forged'

export interface StunOptionsOfTable {
  readonly provider: Pick<CryptoProvider, 'random' | 'hmac' | 'hmacSha1'>
  /** Random, 0 ≤ x < 1: for jitter. */
  readonly unit: () => number
  readonly send: (link: LinkId, to: Uint8Array, datagram: Uint8Array) => void
  readonly count: (counter: StunCounter) => void
}

export interface StunQuestion<Tag> {
  readonly link: LinkId
  /** The server, 18 bytes. */
  readonly to: Uint8Array
  /** Where the answer may come from, if not from there: CHANGE-REQUEST asks for that. */
  readonly from?: readonly Uint8Array[]
  /** Where the answer comes in, if not where the question goes out: RESPONSE-PORT asks for that. */
  readonly answerLink?: LinkId
  readonly attributes?: StunOptions['attributes']
  readonly schedule?: StunSchedule
  /** A short-term credential (RFC 8489 §9.1): asked under it, and nothing is believed without it. */
  readonly key?: Uint8Array
  /** `to` is an address of our own: that the request itself comes in is what is asked. */
  readonly loop?: boolean
  readonly tag: Tag
}

export type StunOutcome<Tag> =
  | {
    readonly kind: 'answered'
    readonly tag: Tag
    /** Where the server saw us. */
    readonly mapped: Uint8Array
    readonly other: Uint8Array | undefined
    /** Of a request that was sent once: no other can be told from its copies. */
    readonly rtt: Duration | undefined
  }
  /** An error, or an answer of no use (no `error`). */
  | { readonly kind: 'refused'; readonly tag: Tag; readonly error: StunError | undefined }
  /** Our own request came in: some NAT turned it round. */
  | { readonly kind: 'returned'; readonly tag: Tag }
  | { readonly kind: 'silent'; readonly tag: Tag }
  /** The system does not send there. */
  | { readonly kind: 'unreachable'; readonly tag: Tag }

interface Transaction<Tag> {
  readonly id: Uint8Array
  readonly question: StunQuestion<Tag>
  readonly datagram: Uint8Array
  readonly stretch: number
  readonly startedAt: Instant
  sends: number
  nextAt: Instant
}

/**
 * The requests of one socket that wait for an answer (RFC 8489 §6), sans-IO. An answer counts only from the address that was asked, over
 * the link that asked, with the id of the question; everything else is dropped and counted, and the question goes on.
 */
export class StunTransactions<Tag> {
  readonly #options: StunOptionsOfTable
  /** By id. BOUNDED: {@link TRANSACTIONS_MAX}. */
  readonly #open = new Map<string, Transaction<Tag>>()
  /** BOUNDED: one for each question, polled after every call. */
  readonly #outcomes: StunOutcome<Tag>[] = []

  constructor(options: StunOptionsOfTable) {
    this.#options = options
  }

  get size(): number {
    return this.#open.size
  }

  /** Of the open questions. */
  get tags(): readonly Tag[] {
    return [...this.#open.values()].map(({ question }) => question.tag)
  }

  /** Sends a Binding request. `false`: too many are open, and nothing was sent. */
  ask(now: Now, question: StunQuestion<Tag>): boolean {
    if (this.#open.size >= TRANSACTIONS_MAX) {
      this.#options.count('stun_full')
      return false
    }
    const { provider } = this.#options
    const id = provider.random(new Uint8Array(TRANSACTION_ID_SIZE))
    const datagram = encodeStun(provider, {
      class: 'request', transactionId: id, attributes: question.attributes ?? [], fingerprint: true,
      integrity: question.key === undefined ? [] : [{ algorithm: 'sha256', key: question.key }],
    })
    const transaction: Transaction<Tag> = { id, question, datagram, stretch: jitter(this.#options.unit()), startedAt: now.mono, sends: 0, nextAt: now.mono }
    this.#open.set(keyOf(id), transaction)
    this.#send(transaction)
    return true
  }

  /** Forgets the questions whose tag is `which`; their answers count as unasked. */
  cancel(which: (tag: Tag) => boolean): void {
    for (const [key, { question }] of this.#open) if (which(question.tag)) this.#open.delete(key)
  }

  /** A datagram that is STUN by its first byte, from 18 bytes of address. */
  handleDatagram(link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number, now: Now): void {
    const message = decodeStun(bytes, offset, length)
    if (message.kind === 'malformed') {
      this.#options.count('drop_stun')
      return
    }
    const transaction = this.#open.get(keyOf(message.transactionId))
    if (transaction === undefined) {
      this.#options.count('drop_stun')
      return
    }
    const { question } = transaction
    // We answer no requests (WIRE.md §1). One of ours that comes back, at any socket, was turned round on its way, and says only that.
    if (message.class === 'request' && question.loop === true) this.#end(transaction, { kind: 'returned', tag: question.tag })
    else if (message.class === 'request' || (question.answerLink ?? question.link) !== link) this.#options.count('drop_stun')
    else this.#answer(now, transaction, message, from)
  }

  /** Whether this STUN message names a question that is open here. */
  waitsFor(bytes: Uint8Array, offset: number): boolean {
    return this.#open.has(keyOf(bytes.subarray(offset + TRANSACTION_ID_OFFSET, offset + TRANSACTION_ID_OFFSET + TRANSACTION_ID_SIZE)))
  }

  /** The system refused to send to this address, or what carried the questions there is gone. */
  handleRefused(link: LinkId, address: Uint8Array, kind: 'unreachable' | 'silent' = 'unreachable'): void {
    for (const transaction of [...this.#open.values()]) {
      const { question } = transaction
      if (question.link === link && equalAddress(question.to, 0, address, 0)) this.#end(transaction, { kind, tag: question.tag })
    }
  }

  handleTimeout(now: Now): void {
    for (const transaction of [...this.#open.values()]) {
      if (transaction.nextAt > now.mono) continue
      const { schedule = STUN_SCHEDULE, tag } = transaction.question
      if (transaction.sends < schedule.sends) {
        this.#options.count('stun_repeats')
        this.#send(transaction)
      } else {
        this.#options.count('stun_timeouts')
        this.#end(transaction, { kind: 'silent', tag })
      }
    }
  }

  nextTimeout(): Instant {
    let next = never
    for (const { nextAt } of this.#open.values()) next = toInstant(Math.min(next, nextAt))
    return next
  }

  /** What became of questions, in the order in which it did. */
  pollOutcome(): StunOutcome<Tag> | undefined {
    return this.#outcomes.shift()
  }

  #send(transaction: Transaction<Tag>): void {
    const { question, stretch, startedAt } = transaction
    const schedule = question.schedule ?? STUN_SCHEDULE
    transaction.sends++
    transaction.nextAt = after(startedAt, transaction.sends < schedule.sends ? sendOffset(schedule, transaction.sends, stretch) : giveUpOffset(schedule, stretch))
    if (transaction.sends === 1) this.#options.count('stun_requests')
    this.#options.send(question.link, question.to, transaction.datagram)
  }

  #answer(now: Now, transaction: Transaction<Tag>, message: StunMessage, from: Uint8Array): void {
    const { question } = transaction
    const asked = (question.from ?? [question.to]).some((address) => equalAddress(address, 0, from, 0))
    const trusted = question.key === undefined || checkIntegrity(this.#options.provider, message, question.key) === 'valid'
    if (!asked || !trusted || message.class === 'indication' || message.method !== BINDING || checkFingerprint(message) === 'wrong') {
      this.#options.count('drop_stun_forged')
      return
    }
    const { tag } = question
    const mapped = message.class === 'success' ? mappedAddressOf(message) : undefined
    // §6.3.3 and §6.3.4: what must be understood and is not makes the whole answer useless, and the question is over.
    if (mapped === undefined || unknownRequired(message).length > 0) {
      this.#options.count('stun_refusals')
      const error = findAttribute(message, stunAttribute.errorCode)
      this.#end(transaction, { kind: 'refused', tag, error: message.class === 'error' && error !== undefined ? decodeErrorCode(error) : undefined })
      return
    }
    this.#options.count('stun_answers')
    const rtt = transaction.sends === 1 ? now.mono - transaction.startedAt : undefined
    this.#end(transaction, { kind: 'answered', tag, mapped, other: addressOf(message, stunAttribute.otherAddress), rtt })
  }

  #end(transaction: Transaction<Tag>, outcome: StunOutcome<Tag>): void {
    this.#open.delete(keyOf(transaction.id))
    this.#outcomes.push(outcome)
  }
}

function keyOf(id: Uint8Array): string {
  return String.fromCharCode(...id)
}
