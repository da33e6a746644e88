import { equalAddress, portOf } from '../base/address.ts'
import { addressClass } from '../base/address-class.ts'
import type { LinkId } from '../base/domain.ts'
import type { Instant, Now } from '../base/time.ts'
import { mappingBySeveral, type MappingClass } from './nat-classes.ts'
import { scheduleFor, STUN_SCHEDULE_SHORT } from './schedule.ts'
import { StunTransactions, type StunOptionsOfTable, type StunOutcome } from './transactions.ts'

/** Who is asked besides the server that answered: two voices are enough, and a third one stands in for a silent second. */
const ASKED_MAX = 2

/** What a server answered over the socket whose mapping is looked for. */
export interface MappingAnswer {
  readonly link: LinkId
  readonly server: Uint8Array
  readonly mapped: Uint8Array
  /** RFC 5780 OTHER-ADDRESS: the same server elsewhere. */
  readonly other: Uint8Array | undefined
  /** Further servers of the same family, best first. */
  readonly others: readonly Uint8Array[]
}

export interface OwnMappingOptions extends StunOptionsOfTable {
  readonly changed: (mapping: MappingClass) => void
}

/**
 * Whether the NAT before the node's own socket takes another port for each destination: what one server saw is held against what another address
 * sees (RFC 5780 §4.3, as far as the socket's own mapping can show it). One question more per network, and as little as two peers need to know
 * who of them is hard to find.
 *
 *     unknown ──answer of a server──▶ asking ──another sees the same, or not──▶ known ──another outside address──▶ asking
 */
export class OwnMapping {
  readonly #options: OwnMappingOptions
  readonly #table: StunTransactions<Uint8Array>
  #mapping: MappingClass = 'unknown'
  #seen: Uint8Array | undefined
  /** Of another network, perhaps: looked at anew with the next answer. */
  #stale = true

  constructor(options: OwnMappingOptions) {
    this.#options = options
    this.#table = new StunTransactions(options)
  }

  /** `endpoint-independent`, `dependent` or `unknown`: what the socket's own mapping shows. */
  get mapping(): MappingClass {
    return this.#mapping
  }

  get asking(): boolean {
    return this.#table.size > 0
  }

  /** The network may be another: what is known stands until somebody says otherwise. */
  doubt(): void {
    this.#stale = true
  }

  /** Nobody sees us any more. */
  forget(): void {
    this.#table.cancel(() => true)
    this.#seen = undefined
    this.#stale = true
    this.#set('unknown')
  }

  handleAnswer(now: Now, { link, server, mapped, other, others }: MappingAnswer): void {
    if (!this.#stale && this.#seen !== undefined && equalAddress(this.#seen, 0, mapped, 0) && this.#mapping !== 'unknown') return
    const voices = [...(other === undefined ? [] : [other]), ...others].filter((address) => isElsewhere(address, server)).slice(0, ASKED_MAX)
    this.#table.cancel(() => true)
    this.#seen = mapped
    this.#stale = false
    // With one voice there is nothing to hold it against.
    if (voices.length === 0) this.#set('unknown')
    for (const to of voices) this.#table.ask(now, { link, to, schedule: scheduleFor(STUN_SCHEDULE_SHORT, undefined), tag: mapped })
  }

  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array, offset: number, length: number): void {
    this.#table.handleDatagram(link, from, bytes, offset, length, now)
    this.#settle()
  }

  /** Whether a datagram with this transaction id is an answer that is waited for here. */
  waitsFor(bytes: Uint8Array, offset: number): boolean {
    return this.#table.waitsFor(bytes, offset)
  }

  handleRefused(link: LinkId, addresses: readonly Uint8Array[]): void {
    for (const address of addresses) this.#table.handleRefused(link, address)
    this.#settle()
  }

  handleTimeout(now: Now): void {
    this.#table.handleTimeout(now)
    this.#settle()
  }

  nextTimeout(): Instant {
    return this.#table.nextTimeout()
  }

  #settle(): void {
    for (let outcome = this.#table.pollOutcome(); outcome !== undefined; outcome = this.#table.pollOutcome()) this.#on(outcome)
  }

  #on(outcome: StunOutcome<Uint8Array>): void {
    if (outcome.kind === 'answered') {
      this.#table.cancel(() => true)
      this.#set(mappingBySeveral([outcome.tag, outcome.mapped]))
    } else if (this.#table.size === 0) {
      this.#set('unknown')
    }
  }

  #set(mapping: MappingClass): void {
    if (mapping === this.#mapping) return
    this.#mapping = mapping
    this.#options.changed(mapping)
  }
}

/** Another host of the same kind of net: a server may not send us to ask our own network. */
function isElsewhere(address: Uint8Array, server: Uint8Array): boolean {
  return portOf(address) !== 0 && addressClass(address) === addressClass(server) && !equalAddress(hostOf(address), 0, hostOf(server), 0)
}

function hostOf(address: Uint8Array): Uint8Array {
  const host = address.slice()
  host.fill(0, 16)
  return host
}
