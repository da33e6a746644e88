import { networkState } from './network-state.ts'

/** What the addon does (native/addon/src/netlink.cc). */
export interface NetlinkAddon {
  netlinkOpen(onNews: (gone: boolean) => void): object
  netlinkClose(watch: object): void
}

export interface NetworkWatchOptions {
  /** Called from the event loop, at most {@link TOLD_MAX} times a second. */
  readonly onChange: () => void
  /** `undefined`: it is looked every {@link POLL_MS}. */
  readonly addon?: NetlinkAddon | undefined
  readonly state?: () => string
}

/** A cable pulled, an address taken over: the kernel tells each step in several messages, all within this. */
const SETTLE_MS = 20
/**
 * A network that comes up says so in steps: an address, then the route by it. Each is told as soon as it has settled, since the first may have been
 * of no use yet; only who goes on for ever waits.
 */
const TOLD_MAX = 8
const TOLD_WINDOW_MS = 1_000
/** Without the kernel's word. A look costs under a millisecond. */
const POLL_MS = 2_000

/**
 * Says when other ways may lead to others than before: an address or a route of this machine came or went. With the addon at once,
 * by the kernel's word (netlink), and then also when all looks as before, but something was gone for a moment: another network may
 * have the same addresses. Without it within {@link POLL_MS}. Keeps no process alive.
 */
export class NetworkWatch {
  readonly kind: 'netlink' | 'polling'
  readonly #onChange: () => void
  readonly #look: () => string
  readonly #stop: () => void
  #state: string
  #gone = false
  #timer: NodeJS.Timeout | undefined
  /** When the last changes were told: at most {@link TOLD_MAX}, the oldest first. */
  readonly #told: number[] = []

  constructor({ onChange, addon, state = networkState }: NetworkWatchOptions) {
    this.#onChange = onChange
    this.#look = state
    // Listened first, so that nothing falls between.
    const stop = addon === undefined ? undefined : this.#listen(addon)
    this.#state = state()
    this.kind = stop === undefined ? 'polling' : 'netlink'
    this.#stop = stop ?? this.#poll()
  }

  close(): void {
    this.#stop()
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** `undefined` where there is no such socket (a sandbox without netlink). */
  #listen(addon: NetlinkAddon): (() => void) | undefined {
    try {
      const watch = addon.netlinkOpen((gone) => {
        this.#gone ||= gone
        this.#timer ??= setTimeout(() => this.#settled(), this.#pause())
      })
      return () => addon.netlinkClose(watch)
    } catch {
      return undefined
    }
  }

  #pause(): number {
    const [oldest] = this.#told
    return oldest === undefined || this.#told.length < TOLD_MAX ? SETTLE_MS : Math.max(SETTLE_MS, oldest + TOLD_WINDOW_MS - performance.now())
  }

  #poll(): () => void {
    const timer = setInterval(() => this.#settled(), POLL_MS).unref()
    return () => clearInterval(timer)
  }

  #settled(): void {
    this.#timer = undefined
    const state = this.#look()
    if (state === this.#state && !this.#gone) return
    this.#state = state
    this.#gone = false
    if (this.#told.length === TOLD_MAX) this.#told.shift()
    this.#told.push(performance.now())
    this.#onChange()
  }
}
