import { PosternError } from '../core/base/errors.ts'

/** Promises that wait for an event of the endpoint, by key; each ends with the event, its time, or its caller. */
export class Waiters<K, V> {
  readonly #waiting = new Map<K, Set<(value: V) => void>>()

  /** Rejects with `timeout` after `timeoutMs` and with `aborted` when the caller is gone. */
  wait(key: K, timeoutMs: number, signal: AbortSignal | undefined, what: string): Promise<V> {
    return new Promise((resolve, reject) => {
      const set = this.#waiting.get(key) ?? new Set()
      this.#waiting.set(key, set)
      const done = (finish: () => void): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', aborted)
        set.delete(settle)
        if (set.size === 0 && this.#waiting.get(key) === set) this.#waiting.delete(key)
        finish()
      }
      const settle = (value: V): void => done(() => resolve(value))
      const aborted = (): void => done(() => reject(new PosternError('aborted', `${what} was called off.`)))
      const timer = setTimeout(() => done(() => reject(new PosternError('timeout', `${what} took longer than ${timeoutMs} ms.`))), timeoutMs)
      set.add(settle)
      if (signal?.aborted === true) aborted()
      else signal?.addEventListener('abort', aborted, { once: true })
    })
  }

  has(key: K): boolean {
    return this.#waiting.has(key)
  }

  settle(key: K, value: V): void {
    for (const settle of [...(this.#waiting.get(key) ?? [])]) settle(value)
  }
}
