import { minute, type Duration, type Instant } from '../base/time.ts'
import type { Connection } from '../connection/connection.ts'
import type { Keys } from '../connection/keys/keys.ts'
import type { Initiation } from '../session/initiation.ts'
import type { RekeyInitiation } from '../session/rekey.ts'
import type { HalfOpen } from './handshakes/half-open.ts'
import type { XxAnswer, XxDial } from './handshakes/xx-entries.ts'

export interface KeysEntry {
  readonly kind: 'keys'
  readonly keys: Keys
  readonly connection: Connection
}

/** What a receiver index names. */
export type IndexEntry =
  | KeysEntry
  | { readonly kind: 'initiation'; readonly initiation: Initiation; readonly connection: Connection }
  /** A rekey of ours that is under way: nothing may come under it yet. */
  | { readonly kind: 'rekey'; readonly initiation: RekeyInitiation }
  | HalfOpen
  /** XX of ours, and of somebody else's, without keys yet. */
  | XxDial
  | XxAnswer

/** WIRE.md §3.10: an index that was closed is not given out again so soon, and a RESET may be sent for it. */
const TOMBSTONE_TIME: Duration = 10 * minute
const TOMBSTONES_MAX = 65_536

/** Receiver indexes: random u32 ≠ 0, new for every keypair, redrawn while in use, pending or tombstoned (WIRE.md §4). */
export class ReceiverIndex {
  readonly #entries = new Map<number, IndexEntry>()
  /** Index → when it died, oldest first. BOUNDED: the oldest goes. */
  readonly #tombstones = new Map<number, Instant>()
  /** Live keys by the peer's index, to find who a RESET speaks of. Of two peers with one index the later stays: a RESET is a hint. */
  readonly #byRemote = new Map<number, KeysEntry>()
  readonly #random: () => number

  /** @param random a uniform u32 from the CSPRNG */
  constructor(random: () => number) {
    this.#random = random
  }

  get size(): number {
    return this.#entries.size
  }

  /** Indexes that died a short while ago. */
  get buried(): number {
    return this.#tombstones.size
  }

  get(index: number): IndexEntry | undefined {
    return this.#entries.get(index)
  }

  /** A free index for an entry that is set next. */
  draw(): number {
    for (;;) {
      const index = this.#random()
      if (index !== 0 && !this.#entries.has(index) && !this.#tombstones.has(index)) return index
    }
  }

  set(index: number, entry: IndexEntry): void {
    this.#entries.set(index, entry)
    if (entry.kind === 'keys') this.#byRemote.set(entry.keys.remoteIndex, entry)
  }

  /** The live keys under which the peer receives at this index of its own. */
  findByRemote(remoteIndex: number): KeysEntry | undefined {
    return this.#byRemote.get(remoteIndex)
  }

  /** Whether the index was in use until a short while ago. */
  isBuried(now: Instant, index: number): boolean {
    const at = this.#tombstones.get(index)
    return at !== undefined && now - at < TOMBSTONE_TIME
  }

  /** Forgets an index. `buried`: it was in use, so it stays taken for a while. */
  remove(now: Instant, index: number, buried: boolean): void {
    const entry = this.#entries.get(index)
    if (entry === undefined) return
    this.#entries.delete(index)
    if (entry.kind === 'keys' && this.#byRemote.get(entry.keys.remoteIndex) === entry) this.#byRemote.delete(entry.keys.remoteIndex)
    if (!buried) return
    this.#tombstones.set(index, now)
    for (const [oldest, at] of this.#tombstones) {
      if (this.#tombstones.size <= TOMBSTONES_MAX && now - at < TOMBSTONE_TIME) break
      this.#tombstones.delete(oldest)
    }
  }
}
