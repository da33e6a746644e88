import { after, never, second, type Instant } from '../core/base/time.ts'
import type { TcpFramer } from './tcp-framing.ts'
import type { TcpLimits } from './tcp-limits.ts'
import type { TcpSystem } from './tcp-system.ts'

/** WIRE.md §7: besides `limits.record`, a record may take a second for each so many bytes. */
const BYTES_PER_SECOND = 4096

/** When the record that is arriving must be complete: counted from its first byte, however often more of it comes. */
export class RecordWatch {
  readonly #system: TcpSystem
  readonly #limits: TcpLimits
  #began: Instant = never
  #until: Instant = never

  constructor(system: TcpSystem, limits: TcpLimits) {
    this.#system = system
    this.#limits = limits
  }

  get until(): Instant {
    return this.#until
  }

  /** Looks at a framer that has used all its input. `completed`: that input ended at least one record, so what has begun began in it. */
  look(framer: TcpFramer, completed: boolean): void {
    if (!framer.begun) {
      this.stop()
      return
    }
    if (completed || this.#began === never) this.#began = this.#system.now()
    this.#until = after(this.#began, this.#limits.record + (framer.expected / BYTES_PER_SECOND) * second)
  }

  /** Nothing is waited for: between records, and while we do not read, which is not the other side's fault. */
  stop(): void {
    this.#began = this.#until = never
  }
}
