import { after, millisecond, never, type Duration, type Instant } from '../base/time.ts'
import { SEQUENCES, type BleValue } from './values.ts'

type DataValue = Extract<BleValue, { kind: 'data' }>

/**
 * ATT keeps the order of values on a bearer. Enhanced ATT has several bearers, and bluetoothd spreads what it sends over them: one overtakes another by as much as
 * the other waits for credits of its own (decision 122). So many are kept for one that is late, and no longer than this; then it counts as lost.
 */
export const EARLY_MAX = 8
export const LATE_AFTER: Duration = 200 * millisecond

/** Segments that came before their turn. BOUNDED by {@link EARLY_MAX}: when full, what is waited for is given up. */
export class EarlyValues {
  readonly #values = new Map<number, DataValue>()
  #deadline: Instant = never

  get size(): number {
    return this.#values.size
  }

  /** When what is missing counts as lost. */
  get deadline(): Instant {
    return this.#deadline
  }

  get isFull(): boolean {
    return this.#values.size > EARLY_MAX
  }

  /** Keeps a copy. False: it is here already. */
  hold(now: Instant, value: DataValue): boolean {
    if (this.#values.has(value.sequence)) return false
    this.#values.set(value.sequence, { ...value, bytes: value.bytes.slice() })
    if (this.#deadline === never) this.#deadline = after(now, LATE_AFTER)
    return true
  }

  /** The one whose turn it is. */
  take(now: Instant, sequence: number): DataValue | undefined {
    const value = this.#values.get(sequence)
    if (value === undefined) return undefined
    this.#values.delete(sequence)
    this.#deadline = this.#values.size === 0 ? never : after(now, LATE_AFTER)
    return value
  }

  /** The first that is here, whatever is missing before it. */
  takeFirst(now: Instant, expected: number): DataValue | undefined {
    for (let ahead = 0; ahead < SEQUENCES; ahead++) {
      const value = this.take(now, (expected + ahead) % SEQUENCES)
      if (value !== undefined) return value
    }
    return undefined
  }

  clear(): void {
    this.#values.clear()
    this.#deadline = never
  }
}
