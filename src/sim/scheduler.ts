import { toInstant, toWallTime, type Instant, type Now } from '../core/base/time.ts'

interface Task {
  readonly at: number
  readonly order: number
  readonly run: () => void
  cancelled: boolean
}

/** Virtual time: tasks in order of their moment, equal ones in the order they were given. Nothing here waits for anything. */
export class Scheduler {
  readonly #heap: Task[] = []
  #order = 0
  #mono = 1_000_000
  /** Unix milliseconds at virtual time 0. */
  wallBase = 1_770_000_000_000

  get now(): Instant {
    return toInstant(this.#mono)
  }

  clock(): Now {
    return { mono: toInstant(this.#mono), wall: toWallTime(this.wallBase + Math.floor(this.#mono / 1000)) }
  }

  get pending(): number {
    return this.#heap.length
  }

  at(moment: number, run: () => void): Task {
    const task: Task = { at: Math.max(moment, this.#mono), order: this.#order++, run, cancelled: false }
    this.#heap.push(task)
    this.#up(this.#heap.length - 1)
    return task
  }

  cancel(task: Task): void {
    task.cancelled = true
  }

  /** Runs the next task; false when there is none before `until`, and time then stands at `until`. */
  step(until: number): boolean {
    for (;;) {
      const next = this.#heap[0]
      if (next === undefined || next.at > until) {
        this.#mono = Math.max(this.#mono, until)
        return false
      }
      this.#pop()
      if (next.cancelled) continue
      this.#mono = next.at
      next.run()
      return true
    }
  }

  /** Runs everything that is due within `duration` microseconds. Returns how many tasks ran. */
  run(duration: number): number {
    const until = this.#mono + duration
    let count = 0
    while (this.step(until)) count++
    return count
  }

  #before(a: Task, b: Task): boolean {
    return a.at < b.at || (a.at === b.at && a.order < b.order)
  }

  #up(start: number): void {
    const heap = this.#heap
    let i = start
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!this.#before(heap[i]!, heap[parent]!)) return
      ;[heap[i], heap[parent]] = [heap[parent]!, heap[i]!]
      i = parent
    }
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    heap[0] = last
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) return
      if (child + 1 < heap.length && this.#before(heap[child + 1]!, heap[child]!)) child++
      if (!this.#before(heap[child]!, heap[i]!)) return
      ;[heap[i], heap[child]] = [heap[child]!, heap[i]!]
      i = child
    }
  }
}
export type { Task }
