/** Time as the client sees it, so that tests need not sleep. */
export interface ClientTimers {
  /** Calls back once after so many milliseconds, unless the returned function was called. */
  after(delayMs: number, callback: () => void): () => void
  /** Calls back when the current turn of the event loop is over: everything sent in it goes out in one write. */
  defer(callback: () => void): void
  /** Uniform in [0, 1). */
  random(): number
}

export const systemTimers: ClientTimers = {
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
  defer: (callback) => {
    setImmediate(callback)
  },
  random: Math.random,
}
