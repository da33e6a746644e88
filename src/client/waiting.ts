import { setMaxListeners } from 'node:events'
import { PosternError } from '../core/base/errors.ts'

/** What a wait that was called off by its signal ends with. */
export function abortedError(signal: AbortSignal): PosternError {
  return new PosternError('aborted', 'The wait was called off.', { cause: signal.reason })
}

/** Throws when the signal was aborted already. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortedError(signal)
}

/** Calls back once when the signal aborts; the returned function takes that back. Without a signal it does nothing. */
export function onAbort(signal: AbortSignal | undefined, callback: (error: PosternError) => void): () => void {
  if (signal === undefined) return nothing
  // One signal may serve hundreds of waits, each of which takes its listener back: more than ten are no leak here.
  setMaxListeners(0, signal)
  const listener = (): void => callback(abortedError(signal))
  signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}

function nothing(): void {
  // No signal, nothing to take back.
}

export interface Waiter<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: PosternError) => void
}

/**
 * A promise that joins `waiters` until somebody takes it out and settles it, or its signal aborts. Waiters are in order of
 * arrival, and leave without a trace when they are called off.
 */
export function waitIn<T, W extends Waiter<T>>(waiters: Set<W>, signal: AbortSignal | undefined, make: (waiter: Waiter<T>) => W): Promise<T> {
  if (signal?.aborted === true) return Promise.reject(abortedError(signal))
  return new Promise<T>((resolve, reject) => {
    const waiter = make({
      resolve: (value) => {
        leave()
        resolve(value)
      },
      reject: (error) => {
        leave()
        reject(error)
      },
    })
    const stop = onAbort(signal, (error) => waiter.reject(error))
    const leave = (): void => {
      stop()
      waiters.delete(waiter)
    }
    waiters.add(waiter)
  })
}

/** Settles every waiter with an error. */
export function rejectAll(waiters: Set<Waiter<never>>, error: PosternError): void {
  for (const waiter of [...waiters]) waiter.reject(error)
}

/** The waiter that came first. */
export function firstOf<W>(waiters: ReadonlySet<W>): W | undefined {
  for (const waiter of waiters) return waiter
  return undefined
}
