import { dropReasons, lanes, type DropReason, type Lane } from '../base/domain.ts'

const REASONS = dropReasons.length
const NOTHING = new Float64Array(0)

/** What happened to the messages of one lane. */
export interface LaneCount {
  readonly sent: number
  readonly dropped: Readonly<Partial<Record<DropReason, number>>>
}

/**
 * Messages sent and dropped, by lane and reason: of one channel, which counts into its session's, which counts into the node's.
 * Most sessions are idle, so storage comes with the first message.
 */
export class LaneTally {
  readonly #above: LaneTally | undefined
  #sent: Float64Array = NOTHING
  #dropped: Float64Array = NOTHING

  constructor(above: LaneTally | undefined) {
    this.#above = above
  }

  addSent(lane: number, count: number): void {
    if (this.#sent.length === 0) this.#sent = new Float64Array(lanes.length)
    this.#sent[lane]! += count
    this.#above?.addSent(lane, count)
  }

  /** `reason` is an index of `dropReasons`. */
  addDropped(lane: number, reason: number, count: number): void {
    if (this.#dropped.length === 0) this.#dropped = new Float64Array(lanes.length * REASONS)
    this.#dropped[lane * REASONS + reason]! += count
    this.#above?.addDropped(lane, reason, count)
  }

  of(lane: Lane): LaneCount {
    const index = lanes.indexOf(lane)
    const dropped: Partial<Record<DropReason, number>> = {}
    dropReasons.forEach((name, reason) => {
      const count = this.#dropped[index * REASONS + reason] ?? 0
      if (count > 0) dropped[name] = count
    })
    return { sent: this.#sent[index] ?? 0, dropped }
  }

  /** Over all lanes. */
  dropped(): Readonly<Partial<Record<DropReason, number>>> {
    const sums: Partial<Record<DropReason, number>> = {}
    for (let at = 0; at < this.#dropped.length; at++) {
      const count = this.#dropped[at]!
      const name = dropReasons[at % REASONS]!
      if (count > 0) sums[name] = (sums[name] ?? 0) + count
    }
    return sums
  }
}
