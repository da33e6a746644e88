import { second, toInstant, never, type Duration, type Instant } from '../../base/time.ts'
import type { Keys } from '../../connection/keys/keys.ts'
import type { LinkId } from '../../base/domain.ts'
import type { HandshakePayload } from '../../wire/handshake-payload.ts'

const HALF_OPEN_TIME: Duration = 10 * second
const UNVALIDATED_MAX = 256
const VALIDATED_MAX = 4096
const PER_PEER_MAX = 4
/** Copies of B per source and fragment, and in all (WIRE.md §3.5). */
const ANSWERS_PER_SOURCE = 4
const ANSWERS_MAX = 64

/** A handshake that we answered and that is not confirmed: its keys open, seal nothing, and nothing of A is acted on. */
export interface HalfOpen {
  readonly kind: 'half-open'
  readonly keys: Keys
  readonly payload: HandshakePayload
  readonly remoteStatic: Uint8Array
  readonly sidSelf: Uint8Array
  /** Stamp of our B: later ones of ours must be greater. */
  readonly stamp: Uint8Array
  /** The id as a table key. */
  readonly peerKey: string
  readonly link: LinkId
  readonly address: Uint8Array
  /** Which address of ours the initiation came to. */
  readonly local: number
  readonly sourceKey: string
  /** mac2 verified at this address. */
  readonly validated: boolean
  /** All copies of A came from this one address. */
  single: boolean
  /** Of the A that it answers. */
  readonly digest: Uint8Array
  readonly datagrams: readonly Uint8Array[]
  readonly createdAt: Instant
  /** Invite that admits it, to be spent at confirmation. */
  readonly inviteKey: string | undefined
  /** By XX, while a pairing window is open. */
  readonly pairing?: boolean
  answers: number
  readonly answersBySource: Map<string, number>
}

/** Whether one more copy of B may go to this source. Counts it. */
export function mayAnswer(entry: HalfOpen, sourceKey: string, fragment: number): boolean {
  const key = `${sourceKey}/${fragment}`
  const count = entry.answersBySource.get(key) ?? 0
  if (entry.answers >= ANSWERS_MAX || count >= ANSWERS_PER_SOURCE) return false
  entry.answers++
  entry.answersBySource.set(key, count + 1)
  return true
}

/**
 * Half-open handshakes: 256 from unvalidated and 4096 from validated sources, 10 s each, 4 per peer id, one per source (its
 * newest). When full, the oldest of its kind goes.
 */
export class HalfOpenTable {
  readonly #unvalidated = new Set<HalfOpen>()
  readonly #validated = new Set<HalfOpen>()
  readonly #bySource = new Map<string, HalfOpen>()
  readonly #byPeer = new Map<string, HalfOpen[]>()
  readonly #onRemove: (entry: HalfOpen) => void

  /** @param onRemove frees index and keys of an entry that goes without being confirmed */
  constructor(onRemove: (entry: HalfOpen) => void) {
    this.#onRemove = onRemove
  }

  get unvalidated(): number {
    return this.#unvalidated.size
  }

  get size(): number {
    return this.#unvalidated.size + this.#validated.size
  }

  add(entry: HalfOpen): void {
    const same = this.#bySource.get(entry.sourceKey)
    if (same !== undefined) this.drop(same)
    const ofPeer = this.#byPeer.get(entry.peerKey)
    if (ofPeer !== undefined && ofPeer.length >= PER_PEER_MAX) this.drop(ofPeer[0]!)
    const set = entry.validated ? this.#validated : this.#unvalidated
    if (set.size >= (entry.validated ? VALIDATED_MAX : UNVALIDATED_MAX)) this.drop(first(set)!)
    set.add(entry)
    this.#bySource.set(entry.sourceKey, entry)
    const list = this.#byPeer.get(entry.peerKey)
    if (list === undefined) this.#byPeer.set(entry.peerKey, [entry])
    else list.push(entry)
  }

  /** Takes an entry out because it was confirmed: its keys live on. */
  take(entry: HalfOpen): void {
    this.#unvalidated.delete(entry)
    this.#validated.delete(entry)
    if (this.#bySource.get(entry.sourceKey) === entry) this.#bySource.delete(entry.sourceKey)
    const list = this.#byPeer.get(entry.peerKey)
    if (list === undefined) return
    const at = list.indexOf(entry)
    if (at >= 0) list.splice(at, 1)
    if (list.length === 0) this.#byPeer.delete(entry.peerKey)
  }

  drop(entry: HalfOpen): void {
    this.take(entry)
    this.#onRemove(entry)
  }

  /** The session id under which this peer was answered, if it was. */
  sidFor(peerKey: string): Uint8Array | undefined {
    return this.#byPeer.get(peerKey)?.at(-1)?.sidSelf
  }

  /** The session with this peer ended: what was begun beside it may not bring it back. */
  dropPeer(peerKey: string): void {
    for (const entry of [...this.#byPeer.get(peerKey) ?? []]) this.drop(entry)
  }

  expire(now: Instant): void {
    for (const set of [this.#unvalidated, this.#validated]) {
      for (const entry of set) {
        if (entry.createdAt + HALF_OPEN_TIME > now) break
        this.drop(entry)
      }
    }
  }

  nextTimeout(): Instant {
    const oldest = Math.min(first(this.#unvalidated)?.createdAt ?? never, first(this.#validated)?.createdAt ?? never)
    return toInstant(oldest + HALF_OPEN_TIME)
  }
}

function first(set: ReadonlySet<HalfOpen>): HalfOpen | undefined {
  for (const entry of set) return entry
  return undefined
}
