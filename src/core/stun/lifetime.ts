import { portOf } from '../base/address.ts'
import type { LinkId } from '../base/domain.ts'
import { after, millisecond, never, second, toInstant, type Duration, type Instant, type Now } from '../base/time.ts'
import { encodeResponsePort } from '../wire/stun-attributes.ts'
import { stunAttribute } from '../wire/stun.ts'
import type { StunServer } from './reflexive.ts'
import { scheduleFor, STUN_SCHEDULE_SHORT } from './schedule.ts'
import { StunTransactions, type StunOptionsOfTable, type StunOutcome } from './transactions.ts'

/** [P] What is asked first: many routers keep UDP for so long, and keep-alives are made for them. */
const WAIT_FIRST: Duration = 30 * second
/** [P] Longer than this no keep-alive waits, so nothing is gained by knowing more. */
export const LIFETIME_MAX: Duration = 120 * second
/** [P] Lifetimes below this are of no router; and the answer need not be more exact than this, or than a quarter of it. */
const LIFETIME_LEAST: Duration = 4 * second
const EXACT: Duration = 2 * second
const EXACT_SHARE = 1 / 4
/** [P] A second exchange after so long: some NATs keep what goes both ways for a while longer than a first question, and sessions go both ways. */
const PRIME_PAUSE: Duration = 2500 * millisecond

/** What is known: still there after `alive`, gone after `dead`. */
export interface LifetimeBounds {
  readonly alive: Duration
  readonly dead: Duration | undefined
}

/** How long to wait in the next try: doubling until the mapping is gone, then halving what is between; `undefined`: it is known well enough. */
export function nextWait({ alive, dead }: LifetimeBounds): Duration | undefined {
  if (dead === undefined) {
    if (alive >= LIFETIME_MAX) return undefined
    return alive === 0 ? WAIT_FIRST : Math.min(2 * alive, LIFETIME_MAX)
  }
  if (dead - alive <= Math.max(EXACT, dead * EXACT_SHARE) || dead <= LIFETIME_LEAST) return undefined
  return Math.round((alive + dead) / 2 / second) * second
}

export interface LifetimeOptions extends StunOptionsOfTable {
  /** Asked in turn until one does what RESPONSE-PORT asks; all of one family. */
  readonly servers: readonly StunServer[]
  /** The socket whose mapping is looked at, and one that asks for an answer to it. */
  readonly links: readonly [LinkId, LinkId]
}

/** unsupported: servers answer, and none of them elsewhere than where it was asked · silent: none answers, or none any more */
export type LifetimeOutcome = 'running' | 'measured' | 'unsupported' | 'silent'

type Phase =
  /** The mapping is made, by two exchanges. `gone`: after so long it seemed gone; that the server still answers shows that it was the mapping. */
  | { readonly kind: 'prime'; readonly wait: Duration; readonly gone: Duration | undefined }
  | { readonly kind: 'pause'; readonly wait: Duration; readonly until: Instant }
  | { readonly kind: 'prime-again'; readonly wait: Duration }
  /** Nothing is sent. */
  | { readonly kind: 'wait'; readonly wait: Duration; readonly until: Instant; readonly port: number }
  | { readonly kind: 'probe'; readonly wait: Duration }
  | { readonly kind: 'done' }

/**
 * How long a NAT keeps a mapping by which nothing goes (RFC 5780 §4.6), sans-IO, over two sockets: the first one makes a mapping and falls silent,
 * later the second one asks the server to answer to the first one's port outside (RESPONSE-PORT), which comes in while the mapping is there.
 *
 *     prime ──answer──► pause ──► prime-again ──answer──► wait ──► probe ──answer or silence──► prime, with another wait
 *
 * A try without any wait comes first: a server that does not do it would make every mapping look gone.
 */
export class MappingLifetime {
  readonly #options: LifetimeOptions
  readonly #table: StunTransactions<'prime' | 'probe'>
  #phase: Phase = { kind: 'prime', wait: 0, gone: undefined }
  #server = 0
  #answered = false
  #bounds: LifetimeBounds = { alive: 0, dead: undefined }
  #outcome: LifetimeOutcome = 'running'

  constructor(options: LifetimeOptions) {
    this.#options = options
    this.#table = new StunTransactions(options)
  }

  start(now: Now): void {
    this.#prime(now, 0)
  }

  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array): void {
    this.#table.handleDatagram(link, from, bytes, 0, bytes.length, now)
    this.#advance(now)
  }

  handleRefused(now: Now, link: LinkId, address: Uint8Array): void {
    this.#table.handleRefused(link, address)
    this.#advance(now)
  }

  handleTimeout(now: Now): void {
    this.#table.handleTimeout(now)
    const phase = this.#phase
    if (phase.kind === 'pause' && now.mono >= phase.until) {
      this.#phase = { kind: 'prime-again', wait: phase.wait }
      this.#ask(now, 'prime')
    } else if (phase.kind === 'wait' && now.mono >= phase.until) {
      this.#phase = { kind: 'probe', wait: phase.wait }
      this.#ask(now, 'probe', phase.port)
    }
    this.#advance(now)
  }

  nextTimeout(): Instant {
    const own = this.#phase.kind === 'pause' || this.#phase.kind === 'wait' ? this.#phase.until : never
    return toInstant(Math.min(own, this.#table.nextTimeout()))
  }

  get done(): boolean {
    return this.#phase.kind === 'done'
  }

  /** What is known so far; final when it is done. */
  get result(): LifetimeBounds & { readonly outcome: LifetimeOutcome } {
    return { ...this.#bounds, outcome: this.#outcome }
  }

  #prime(now: Now, wait: Duration, gone?: Duration): void {
    if (this.#options.servers[this.#server] === undefined) {
      this.#end(this.#answered ? 'unsupported' : 'silent')
      return
    }
    this.#phase = { kind: 'prime', wait, gone }
    this.#ask(now, 'prime')
  }

  #ask(now: Now, tag: 'prime' | 'probe', port = 0): void {
    const [subject, asker] = this.#options.links
    const to = this.#options.servers[this.#server]!.address
    this.#table.ask(now, {
      to, tag, schedule: scheduleFor(STUN_SCHEDULE_SHORT, undefined), link: tag === 'prime' ? subject : asker,
      ...(tag === 'prime' ? {} : { answerLink: subject, attributes: [[stunAttribute.responsePort, encodeResponsePort(port)]] as const }),
    })
  }

  #advance(now: Now): void {
    for (let outcome = this.#table.pollOutcome(); outcome !== undefined; outcome = this.#table.pollOutcome()) this.#on(now, outcome)
  }

  #on(now: Now, outcome: StunOutcome<'prime' | 'probe'>): void {
    const phase = this.#phase
    if (phase.kind === 'probe') this.#judge(now, phase.wait, outcome.kind === 'answered')
    else if (outcome.kind !== 'answered') this.#lost(now)
    else if (phase.kind === 'prime') this.#primed(now, phase.wait, phase.gone)
    else if (phase.kind === 'prime-again') this.#phase = { kind: 'wait', wait: phase.wait, until: after(now.mono, phase.wait), port: portOf(outcome.mapped) }
    if (outcome.kind === 'answered') this.#answered = true
  }

  #judge(now: Now, wait: Duration, came: boolean): void {
    if (wait === 0 && !came) {
      this.#next(now)
      return
    }
    if (!came) {
      this.#prime(now, wait, wait)
      return
    }
    this.#bounds = { ...this.#bounds, alive: wait }
    const next = nextWait(this.#bounds)
    if (next === undefined) this.#end('measured')
    else this.#prime(now, next)
  }

  #primed(now: Now, wait: Duration, gone: Duration | undefined): void {
    if (gone !== undefined) this.#bounds = { ...this.#bounds, dead: gone }
    const next = gone === undefined ? wait : nextWait(this.#bounds)
    if (next === undefined) this.#end('measured')
    else this.#phase = { kind: 'pause', wait: next, until: after(now.mono, PRIME_PAUSE) }
  }

  /** The server says nothing. Before the first wait another one may; later there is no comparing. */
  #lost(now: Now): void {
    if (this.#bounds.alive === 0 && this.#bounds.dead === undefined) this.#next(now)
    else this.#end('silent')
  }

  #next(now: Now): void {
    this.#server++
    this.#prime(now, 0)
  }

  #end(outcome: LifetimeOutcome): void {
    this.#outcome = outcome
    this.#phase = { kind: 'done' }
  }
}
