/**
 * Bytes that the heaviest channel of a lane sends in its turn, lighter ones accordingly less; a lane's share is this times {@link LANE_WEIGHTS}. Were a turn as
 * many as the weight, one of weight 255 would hold a Bluetooth link for six seconds.
 */
const QUANTUM = 1152
/** Shares of the four lanes while all have something to send. Low gets 1 of 85 of a full link: it never starves. */
const LANE_WEIGHTS = [64, 16, 4, 1] as const
const LANE_COUNT = 4
/** What a scheduler without members has; the same for all of them. */
const EMPTY: readonly never[][] = [[], [], [], []]
const NO_HEADS: number[] = [0, 0, 0, 0]
const NO_WEIGHTS: number[] = [1, 1, 1, 1]
const FULL_SHARES: number[] = LANE_WEIGHTS.map((weight) => weight * QUANTUM)

/** What the scheduler keeps in a channel. Written by the scheduler only, except `lane` and `weight`. */
export interface LaneMember {
  lane: number
  weight: number
  deficit: number
  /** Whether it stands in its lane's list. */
  scheduled: boolean
}

/**
 * Who sends next: lanes in order of priority, each within its share of the round (deficit round robin by bytes), and channels
 * of one lane in deficit round robin by weight. So a critical message goes before queued bulk, and a flood of critical
 * messages leaves the other lanes their share.
 */
export class LaneScheduler<T extends LaneMember> {
  #lists: readonly T[][] = EMPTY
  /** Own ones from the first member on: before it nothing in the common ones changes. */
  #heads: number[] = NO_HEADS
  #shares: number[] = FULL_SHARES
  /** The greatest weight in each lane; that of one who left counts on until somebody waits for his turn in vain. */
  #heaviest: number[] = NO_WEIGHTS

  get empty(): boolean {
    for (let lane = 0; lane < LANE_COUNT; lane++) {
      if (this.#heads[lane]! < this.#lists[lane]!.length) return false
    }
    return true
  }

  /** Puts a channel that has something to send at the end of its lane; nothing happens when it is there already. */
  add(member: T): void {
    if (member.scheduled) return
    if (this.#lists === EMPTY) this.#begin()
    member.scheduled = true
    if (member.weight > this.#heaviest[member.lane]!) this.#heaviest[member.lane] = member.weight
    member.deficit = this.#turnOf(member)
    this.#lists[member.lane]!.push(member)
  }

  remove(member: T): void {
    if (!member.scheduled) return
    member.scheduled = false
    const list = this.#lists[member.lane]!
    const head = this.#heads[member.lane]!
    if (list[head] === member) {
      this.#heads[member.lane] = head + 1
      this.#compact(member.lane)
      return
    }
    list.splice(list.indexOf(member, head), 1)
  }

  /** Whose turn it is, and it stays whose turn it is until {@link spent} or {@link remove} say otherwise. */
  next(): T | undefined {
    for (let round = 0; round < 2; round++) {
      for (let lane = 0; lane < LANE_COUNT; lane++) {
        if (this.#heads[lane]! < this.#lists[lane]!.length && this.#shares[lane]! > 0) return this.#turn(lane)
      }
      for (let lane = 0; lane < LANE_COUNT; lane++) {
        const share = LANE_WEIGHTS[lane]! * QUANTUM
        this.#shares[lane] = Math.min(this.#shares[lane]! + share, share)
      }
    }
    // A share may be overdrawn by one large frame; the highest lane with work goes then.
    for (let lane = 0; lane < LANE_COUNT; lane++) {
      if (this.#heads[lane]! < this.#lists[lane]!.length) return this.#turn(lane)
    }
    return undefined
  }

  /** Bytes that the channel may still send in this turn. */
  allowance(member: T): number {
    return Math.max(1, Math.min(member.deficit, this.#shares[member.lane]!))
  }

  spent(member: T, bytes: number): void {
    member.deficit -= bytes
    this.#shares[member.lane]! -= bytes
  }

  #begin(): void {
    this.#lists = [[], [], [], []]
    this.#heads = [0, 0, 0, 0]
    this.#shares = FULL_SHARES.slice()
    this.#heaviest = NO_WEIGHTS.slice()
  }

  #turnOf(member: T): number {
    return QUANTUM * member.weight / this.#heaviest[member.lane]!
  }

  #turn(lane: number): T {
    const list = this.#lists[lane]!
    const size = list.length - this.#heads[lane]!
    for (let passed = 0; ; passed++) {
      const head = this.#heads[lane]!
      const member = list[head]!
      if (member.deficit > 0 || size === 1) {
        // Alone, it is the heaviest: who was heavier before it has gone.
        if (size === 1) this.#heaviest[lane] = member.weight
        if (member.deficit <= 0) member.deficit = this.#turnOf(member)
        return member
      }
      if (passed === size) this.#skipRounds(lane)
      member.deficit += this.#turnOf(member)
      list.push(member)
      this.#heads[lane] = head + 1
      this.#compact(lane)
    }
  }

  /** All have overdrawn: the rounds in which nobody would get a turn are over at once. */
  #skipRounds(lane: number): void {
    const list = this.#lists[lane]!
    let heaviest = 1
    for (let i = this.#heads[lane]!; i < list.length; i++) heaviest = Math.max(heaviest, list[i]!.weight)
    this.#heaviest[lane] = heaviest
    let rounds = Infinity
    for (let i = this.#heads[lane]!; i < list.length; i++) rounds = Math.min(rounds, Math.floor(-list[i]!.deficit / this.#turnOf(list[i]!)))
    for (let i = this.#heads[lane]!; i < list.length; i++) list[i]!.deficit += rounds * this.#turnOf(list[i]!)
  }

  #compact(lane: number): void {
    const list = this.#lists[lane]!
    const head = this.#heads[lane]!
    if (head === list.length) list.length = 0
    else if (head > 64 && head > list.length / 2) list.splice(0, head)
    else return
    this.#heads[lane] = 0
  }
}
