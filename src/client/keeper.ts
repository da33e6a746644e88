import { PosternError, type ErrorCode } from '../core/base/errors.ts'
import { endCarried, Link, type Carried, type LinkOptions } from './link.ts'
import type { ClientTimers } from './timers.ts'
import { rejectAll, waitIn, type Waiter } from './waiting.ts'

/** WIRE.md §8.4. */
const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 5000
/** Errors that another attempt would only repeat. */
const FATAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['auth', 'params', 'scope', 'config'])

export type ConnectionState = 'connected' | 'reconnecting' | 'closed'

type KeeperState =
  | { readonly kind: 'up'; readonly link: Link }
  /** Waits for the next attempt. */
  | { readonly kind: 'down'; readonly stop: () => void }
  | { readonly kind: 'dialing' }
  | { readonly kind: 'closed'; readonly error: PosternError }

export interface KeeperOptions extends Omit<LinkOptions, 'onLost'> {
  readonly reconnect: boolean
  /** Each time a connection is open, before anybody who waited for it goes on. */
  readonly onLink: (link: Link) => void
  readonly onState: (state: ConnectionState, error: PosternError | undefined) => void
}

/**
 *     dialing ──▶ up ──▶ down ──▶ dialing …        closed is final: by close(), without reconnect, or when an attempt cannot succeed
 *
 * Keeps one connection to the daemon: after a loss it dials again after 50 ms, doubling to 5 s, ± 50 %, so that a restarted
 * daemon is not met by all its clients at once.
 */
export class LinkKeeper {
  readonly #options: KeeperOptions
  readonly #timers: ClientTimers
  readonly #waiting = new Set<Waiter<Link>>()
  readonly #dialing = new AbortController()
  #state: KeeperState = { kind: 'dialing' }
  #attempt = 0
  #carried: { readonly channels: Carried; readonly stop: () => void } | undefined

  constructor(options: KeeperOptions) {
    this.#options = options
    this.#timers = options.timers
  }

  /** The first connection. It fails as {@link Link.open} does, and then nothing is tried again. */
  async start(signal: AbortSignal | undefined): Promise<void> {
    try {
      this.#up(await this.#open(signal))
    } catch (error) {
      this.#state = { kind: 'closed', error: error as PosternError }
      throw error
    }
  }

  get current(): Link | undefined {
    return this.#state.kind === 'up' ? this.#state.link : undefined
  }

  get state(): ConnectionState {
    return this.#state.kind === 'up' ? 'connected' : this.#state.kind === 'closed' ? 'closed' : 'reconnecting'
  }

  /** The open connection, or the next one. */
  link(signal: AbortSignal | undefined): Promise<Link> {
    if (this.#state.kind === 'up') return Promise.resolve(this.#state.link)
    if (this.#state.kind === 'closed') return Promise.reject(this.#state.error)
    return waitIn<Link, Waiter<Link>>(this.#waiting, signal, (waiter) => waiter)
  }

  /** For good. */
  async close(error: PosternError): Promise<void> {
    const state = this.#state
    this.#end(error, undefined)
    this.#dialing.abort()
    if (state.kind === 'down') state.stop()
    if (state.kind === 'up') await state.link.close(error)
  }

  #open(signal: AbortSignal | undefined): Promise<Link> {
    const onLost: LinkOptions['onLost'] = (link, error, retryMs, carried) => this.#lost(link, error, retryMs, carried)
    return Link.open({ ...this.#options, onLost }, this.#carried?.channels, signal)
  }

  #up(link: Link): void {
    this.#state = { kind: 'up', link }
    this.#attempt = 0
    this.#carried?.stop()
    this.#carried = undefined
    // Nobody comes back here: the daemon need not wait.
    if (!this.#options.reconnect) link.leave()
    this.#options.onLink(link)
    for (const waiter of [...this.#waiting]) waiter.resolve(link)
    this.#options.onState('connected', undefined)
  }

  #lost(link: Link, error: PosternError, retryMs: number, carried: Carried | undefined): void {
    const mine = this.#state.kind === 'up' && this.#state.link === link
    if (carried !== undefined) {
      // Lost while it was being opened: the attempt fails, and the next one goes on from here.
      if ((mine || this.#state.kind === 'dialing') && this.#options.reconnect) this.#carry(carried, error)
      else endCarried(carried, error)
    }
    if (!mine) return
    if (this.#options.reconnect) {
      this.#wait(retryMs)
      this.#options.onState('reconnecting', error)
    } else {
      this.#end(error, error)
    }
  }

  /** Keeps channels for the next connection, as long as the daemon does. */
  #carry(carried: Carried, error: PosternError): void {
    this.#carried?.stop()
    const stop = carried.channels.size === 0 ? nothing : this.#timers.after(carried.lingerMs, () => this.#drop(error))
    this.#carried = { channels: carried, stop }
  }

  #drop(error: PosternError): void {
    const carried = this.#carried
    if (carried === undefined) return
    this.#carried = undefined
    carried.stop()
    endCarried(carried.channels, error)
  }

  #wait(retryMs: number): void {
    const delayMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.#attempt) * (0.5 + this.#timers.random())
    this.#attempt++
    this.#state = { kind: 'down', stop: this.#timers.after(Math.max(delayMs, retryMs), () => this.#dial()) }
  }

  #dial(): void {
    this.#state = { kind: 'dialing' }
    this.#open(this.#dialing.signal).then(
      (link) => {
        if (this.#state.kind === 'dialing') this.#up(link)
      },
      (error: unknown) => {
        if (this.#state.kind !== 'dialing') return
        if (error instanceof PosternError && FATAL.has(error.code)) this.#end(error, error)
        else this.#wait(0)
      },
    )
  }

  #end(error: PosternError, shown: PosternError | undefined): void {
    if (this.#state.kind === 'closed') return
    this.#state = { kind: 'closed', error }
    this.#drop(error)
    rejectAll(this.#waiting, error)
    this.#options.onState('closed', shown)
  }
}

function nothing(): void {
  // Without channels there is nothing to give up.
}
