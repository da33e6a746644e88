/**
 * Presence keys (WIRE.md §5, frame 0x31): what friends know one another by while neither says its name. Who has a node's key recognises the hint in its
 * advertisement, and can make an XX message A that the node answers; to all others both are random, and other ones every hour.
 */
import { equalConstantTime, utf8, writeU32 } from '../base/bytes.ts'
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

/** Whose hints are looked for: any number of others, each with its keys. */
export interface HintOwner<T> {
  readonly owner: T
  readonly keys: readonly PresenceKey[]
}

/**
 * The hints of many friends in this hour, the one before and the one after, since clocks differ. Made once and asked often: each advertisement in the air is
 * a question. Every entry is compared, in constant time: how long an answer takes says nothing of whose hint it was.
 */
export class HintTable<T> {
  readonly hour: number
  readonly #entries: { readonly hint: Uint8Array; readonly owner: T }[] = []

  constructor(provider: CryptoProvider, owners: Iterable<HintOwner<T>>, hour: number) {
    this.hour = hour
    for (const { owner, keys } of owners) {
      for (const { key } of keys) for (const at of [hour, hour - 1, hour + 1]) this.#entries.push({ hint: presenceHint(provider, key, at), owner })
    }
  }

  find(hint: Uint8Array): T | undefined {
    let found: T | undefined
    if (hint.length !== HINT_SIZE) return found
    for (const entry of this.#entries) if (equalConstantTime(entry.hint, hint)) found = entry.owner
    return found
  }
}
