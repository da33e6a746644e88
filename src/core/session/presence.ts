/**
 * Presence keys (WIRE.md §5, frame 0x31): what friends know one another by while neither says its name. Who has a node's key recognises the hint in its
 * advertisement, and can make an XX message A that the node answers; to all others both are random, and other ones every hour.
 */
import { utf8, writeU32 } from '../base/bytes.ts'
import type { WallTime } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'

/** One generation of a node's presence key. */
export interface PresenceKey {
  /** Rises with each new key. */
  readonly epoch: number
  /** 32 bytes. */
  readonly key: Uint8Array
}

export const PRESENCE_KEY_SIZE = 32
/** Generations that count at once: who was away while the key changed still finds the way by the one before. */
export const PRESENCE_KEYS_MAX = 2
export const HINT_SIZE = 6
const HINT_LABEL = utf8('postern hint')
const HOUR_MS = 3_600_000

/** Hours since 1970: what a hint is made of besides the key. */
export function hourOf(wall: WallTime): number {
  return Math.floor(wall / HOUR_MS)
}

/** First 6 bytes of `HMAC(key, "postern hint" · hour u32)`. */
export function presenceHint(provider: CryptoProvider, key: Uint8Array, hour: number): Uint8Array {
  const bytes = new Uint8Array(4)
  writeU32(bytes, 0, hour)
  return provider.hmac(key, HINT_LABEL, bytes).slice(0, HINT_SIZE)
}

/** Takes a key over into those that are known, the newest first; the same list if it is not newer. */
export function withPresenceKey(known: readonly PresenceKey[], added: PresenceKey): readonly PresenceKey[] {
  if (known.length > 0 && added.epoch <= known[0]!.epoch) return known
  return [added, ...known].slice(0, PRESENCE_KEYS_MAX)
}

/** Hours whose hints are known at once: clocks differ. */
const HOURS: readonly number[] = [0, -1, 1]

/** One key of a friend: its hints in the hours of the table, as numbers. */
interface KnownKey {
  readonly key: Uint8Array
  readonly hints: Map<number, number>
}

/**
 * The hints of many friends in this hour, the one before and the one after. Each advertisement in the air is a question, and anybody may ask a hundred thousand a
 * second: a question is one look-up and no hash. Hashes are made when a friend tells a key (3), and with each hour (1 for each key). The look-up need take no constant time:
 * that a hint is a friend's is shown to all the air anyway, by the dial that follows.
 */
export class HintTable<T> {
  readonly #provider: CryptoProvider
  readonly #owners = new Map<T, KnownKey[]>()
  readonly #byHint = new Map<number, T>()
  #hour: number

  constructor(provider: CryptoProvider, hour: number) {
    this.#provider = provider
    this.#hour = hour
  }

  /** Hints in the table. */
  get size(): number {
    return this.#byHint.size
  }

  find(hint: Uint8Array): T | undefined {
    return hint.length === HINT_SIZE ? this.#byHint.get(hintNumber(hint)) : undefined
  }

  /** Another hour: hints of hours that are too far away go, others come. */
  setHour(hour: number): void {
    if (hour === this.#hour) return
    this.#hour = hour
    for (const [owner, keys] of this.#owners) for (const known of keys) this.#setHints(owner, known)
  }

  /** The keys of a friend from now on; none: it is no friend any more. */
  set(owner: T, keys: readonly PresenceKey[]): void {
    const before = this.#owners.get(owner) ?? []
    const now = keys.map(({ key }) => before.find((known) => known.key === key) ?? { key, hints: new Map<number, number>() })
    for (const known of before) if (!now.includes(known)) for (const hint of known.hints.values()) this.#forget(owner, hint)
    if (now.length === 0) this.#owners.delete(owner)
    else this.#owners.set(owner, now)
    for (const known of now) this.#setHints(owner, known)
  }

  #setHints(owner: T, { key, hints }: KnownKey): void {
    for (const [hour, hint] of hints) {
      if (Math.abs(hour - this.#hour) <= 1) continue
      hints.delete(hour)
      this.#forget(owner, hint)
    }
    for (const offset of HOURS) {
      const hour = this.#hour + offset
      if (hints.has(hour)) continue
      const hint = hintNumber(presenceHint(this.#provider, key, hour))
      hints.set(hour, hint)
      // Two friends with one hint are one friend who told the other's key: who told it first is believed.
      if (!this.#byHint.has(hint)) this.#byHint.set(hint, owner)
    }
  }

  #forget(owner: T, hint: number): void {
    if (this.#byHint.get(hint) === owner) this.#byHint.delete(hint)
  }
}

/** 48 bits: exact in a double. */
function hintNumber(hint: Uint8Array): number {
  let number = 0
  for (const byte of hint) number = number * 256 + byte
  return number
}
