import { isIPv4 } from '../../base/address.ts'
import { toHex } from '../../base/bytes.ts'
import { second, toInstant, never, type Duration, type Instant } from '../../base/time.ts'
import { FragmentSlots, type SlotResult } from '../../session/fragment-slots.ts'
import { NOISE_MESSAGE_MAX, type HandshakeFragment } from '../../wire/handshake-fragment.ts'

/** WIRE.md §3.5: entries in all, per source prefix, per prefix under load; 5 s from the first fragment, never extended. */
const ENTRIES_MAX = 1024
const PER_PREFIX = 16
const PER_PREFIX_LOADED = 4
const REASSEMBLY_TIME: Duration = 5 * second

interface Entry {
  readonly key: string
  readonly prefix: string
  readonly slots: FragmentSlots
  readonly startedAt: Instant
  readonly validated: boolean
}

/** v4 /32 and v6 /64 of an 18-byte address, as a table key. */
export function prefixKey(address: Uint8Array): string {
  return toHex(isIPv4(address) ? address.subarray(12, 16) : address.subarray(0, 8))
}

/**
 * Messages A that arrive in pieces, before anything about them is known. A single-fragment A never enters. A full prefix loses
 * its oldest; a full table loses the oldest entry of the prefix with most entries, so a flood from one place evicts itself.
 */
export class ReassemblyTable {
  readonly #entries = new Map<string, Entry>()
  readonly #byPrefix = new Map<string, Set<Entry>>()
  #unvalidated = 0

  get unvalidated(): number {
    return this.#unvalidated
  }

  get size(): number {
    return this.#entries.size
  }

  /** Adds a fragment from `address` (18 bytes); the whole message once its last piece came. */
  add(now: Instant, kind: string, address: Uint8Array, fragment: HandshakeFragment, validated: boolean, loaded: boolean): SlotResult {
    if (fragment.count === 1) return fragment.body.length <= NOISE_MESSAGE_MAX ? fragment.body.slice() : 'malformed'
    this.expire(now)
    const key = `${kind}/${toHex(address)}/${fragment.senderIndex}/${toHex(fragment.digest)}/${fragment.suite}/${fragment.count}`
    const entry = this.#entries.get(key) ?? this.#begin(now, key, prefixKey(address), fragment, validated, loaded)
    const result = entry.slots.add(fragment.number, fragment.body)
    if (result !== 'incomplete' && result !== 'duplicate') this.#remove(entry)
    return result
  }

  expire(now: Instant): void {
    for (const entry of this.#entries.values()) {
      if (entry.startedAt + REASSEMBLY_TIME > now) return
      this.#remove(entry)
    }
  }

  nextTimeout(): Instant {
    for (const entry of this.#entries.values()) return toInstant(entry.startedAt + REASSEMBLY_TIME)
    return never
  }

  #begin(now: Instant, key: string, prefix: string, fragment: HandshakeFragment, validated: boolean, loaded: boolean): Entry {
    const most = loaded ? PER_PREFIX_LOADED : PER_PREFIX
    for (let ofPrefix = this.#byPrefix.get(prefix); ofPrefix !== undefined && ofPrefix.size >= most; ofPrefix = this.#byPrefix.get(prefix)) this.#remove(oldest(ofPrefix))
    if (this.#entries.size >= ENTRIES_MAX) this.#evict()
    const entry: Entry = { key, prefix, slots: new FragmentSlots(fragment.digest, fragment.count), startedAt: now, validated }
    this.#entries.set(key, entry)
    if (!validated) this.#unvalidated++
    const set = this.#byPrefix.get(prefix) ?? new Set()
    set.add(entry)
    this.#byPrefix.set(prefix, set)
    return entry
  }

  #evict(): void {
    let largest: Set<Entry> | undefined
    for (const set of this.#byPrefix.values()) {
      if (largest === undefined || set.size > largest.size) largest = set
    }
    if (largest !== undefined) this.#remove(oldest(largest))
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry.key)
    if (!entry.validated) this.#unvalidated--
    const set = this.#byPrefix.get(entry.prefix)!
    set.delete(entry)
    if (set.size === 0) this.#byPrefix.delete(entry.prefix)
  }
}

function oldest(set: ReadonlySet<Entry>): Entry {
  return set.values().next().value!
}
