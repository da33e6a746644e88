/** Time for the limiter; replaced in tests. */
export interface RateSystem {
  /** Milliseconds, monotonic. */
  now(): number
  /** Runs later, without keeping the process alive. Returns what takes it back. */
  later(run: () => void, milliseconds: number): () => void
}

export const rateSystem: RateSystem = {
  now: () => performance.now(),
  later: (run, milliseconds) => {
    const timer = setTimeout(run, milliseconds)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

interface Window {
  readonly endsAt: number
  count: number
  suppressed: number
}

/** Different messages followed at once; the one whose window is oldest gives way, after its count was told. */
const WINDOWS_MAX = 256

/**
 * Lets the same message through `burst` times in `intervalMs` and counts the rest; when the interval is over, `report` is told how
 * many were held back. So a flood from the network is a few lines and a number, never a full disk.
 */
export class RateLimit {
  readonly #burst: number
  readonly #intervalMs: number
  readonly #report: (message: string, suppressed: number) => void
  readonly #system: RateSystem
  /** In the order in which the windows began, hence end. */
  readonly #windows = new Map<string, Window>()
  #cancel: (() => void) | undefined

  constructor(options: { burst: number; intervalMs: number }, report: (message: string, suppressed: number) => void, system: RateSystem = rateSystem) {
    this.#burst = options.burst
    this.#intervalMs = options.intervalMs
    this.#report = report
    this.#system = system
  }

  /** Whether this line may be written. */
  admits(message: string): boolean {
    const now = this.#system.now()
    this.#expire(now)
    const window = this.#windows.get(message)
    if (window === undefined) {
      if (this.#windows.size >= WINDOWS_MAX) this.#end(this.#windows.keys().next().value!)
      this.#windows.set(message, { endsAt: now + this.#intervalMs, count: 1, suppressed: 0 })
      return true
    }
    if (++window.count <= this.#burst) return true
    window.suppressed++
    this.#cancel ??= this.#system.later(() => this.#onTime(), window.endsAt - now)
    return false
  }

  /** Ends every window now and reports what they held back. */
  flush(): void {
    this.#cancel?.()
    this.#cancel = undefined
    for (const message of [...this.#windows.keys()]) this.#end(message)
  }

  #onTime(): void {
    this.#cancel = undefined
    const now = this.#system.now()
    this.#expire(now)
    for (const window of this.#windows.values()) {
      if (window.suppressed === 0) continue
      this.#cancel = this.#system.later(() => this.#onTime(), window.endsAt - now)
      return
    }
  }

  #expire(now: number): void {
    for (const [message, window] of this.#windows) {
      if (window.endsAt > now) return
      this.#end(message)
    }
  }

  #end(message: string): void {
    const window = this.#windows.get(message)
    this.#windows.delete(message)
    if (window !== undefined && window.suppressed > 0) this.#report(message, window.suppressed)
  }
}
