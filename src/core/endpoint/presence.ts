import type { PeerHandle } from '../base/domain.ts'
import type { Now } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { HintTable, hourOf, presenceHint, PRESENCE_KEY_SIZE, withPresenceKey, type PresenceKey } from '../session/presence.ts'
import type { PeerEntry, Roster } from './roster.ts'

/** What it needs of its node. */
export interface PresenceHost {
  readonly provider: CryptoProvider
  readonly roster: Roster
  randomBytes(length: number): Uint8Array
  presenceChanged(): void
}

/** Our presence key, which friends are told, and theirs, by which we know them (WIRE.md §5). */
export class Presence {
  readonly #node: PresenceHost
  #own: readonly PresenceKey[]
  /** Of all friends; made with the first question, and kept up to date since. */
  #table: HintTable<PeerHandle> | undefined
  #told = false

  /** @param own as it was stored; drawn when it is first needed */
  constructor(node: PresenceHost, own: readonly PresenceKey[]) {
    this.#node = node
    this.#own = own
  }

  /** What friends are told. */
  get current(): PresenceKey {
    if (this.#own.length === 0) this.rotate()
    return this.#own[0]!
  }

  /** With which friends may begin an XX handshake with us, the newest first. */
  get keys(): readonly Uint8Array[] {
    return this.#own.map(({ key }) => key)
  }

  /** Another key from now on: who was a friend until now does not recognise us any more. Friends are told it as soon as they are reached, and find us by the old one until the next. */
  rotate(): void {
    const node = this.#node
    this.#own = withPresenceKey(this.#own, { epoch: (this.#own[0]?.epoch ?? 0) + 1, key: node.randomBytes(PRESENCE_KEY_SIZE) })
    node.roster.persistPresence(this.#own)
    node.presenceChanged()
  }

  hint(now: Now): Uint8Array {
    const { key } = this.current
    // With the first advertisement it begins to matter whether friends know it: an adapter may come long after the sessions.
    if (!this.#told) this.#node.presenceChanged()
    this.#told = true
    return presenceHint(this.#node.provider, key, hourOf(now.wall))
  }

  /** The friend that advertises this hint. */
  find(now: Now, hint: Uint8Array): PeerHandle | undefined {
    const hour = hourOf(now.wall)
    if (this.#table === undefined) {
      this.#table = new HintTable(this.#node.provider, hour)
      for (const peer of this.#node.roster.entries()) this.changed(peer)
    }
    this.#table.setHour(hour)
    return this.#table.find(hint)
  }

  /** This peer joined the roster, left it, or has another key. */
  changed({ handle, inRoster, record }: PeerEntry): void {
    this.#table?.set(handle, inRoster ? record.presence ?? [] : [])
  }

  /** A friend told its key. */
  learn(peer: PeerEntry, key: PresenceKey): void {
    const known = peer.record.presence ?? []
    const now = withPresenceKey(known, key)
    if (now === known) return
    this.#node.roster.note(peer, { presence: now })
    this.changed(peer)
  }
}
