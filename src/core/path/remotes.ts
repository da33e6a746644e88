import { ADDRESS_SIZE, equalAddress } from '../base/address.ts'
import { after, never, second, toInstant, type Duration, type Instant } from '../base/time.ts'
import type { RefusalReason } from './attempts.ts'

/** Addresses kept of one peer; the one that promises least makes room. */
export const REMOTES_MAX = 16
/** While the session carries traffic over a worse kind of path, each address that was the peer's is asked this often. */
const PROBE_TIME: Duration = 2 * second
/** WIRE.md §5: to an address that never was the peer's, so many probes, then one per longest pause. */
const PROBES_UNPROVEN = 5
const PROBE_TIME_MAX: Duration = 30 * second
/** WIRE.md §6: so many black holes within this time, and the address rests. */
const FAILURES_MAX = 3
const FAILURE_TIME: Duration = 30 * second
const QUARANTINE_TIME: Duration = 60 * second

/** A UDP address where the peer was, or may be. */
export class Remote {
  readonly address: Uint8Array
  /** The peer answered there, or on another path of the same host. */
  proven = false
  /** Since an answer. */
  probes = 0
  /** Why the system did not send there, since an answer. */
  refused: RefusalReason | undefined
  pause: Duration = PROBE_TIME
  probeAt: Instant = toInstant(0)
  /** When data sent there was found lost though probes had been answered. */
  failures: Instant[] = []
  quarantinedUntil: Instant = toInstant(0)

  constructor(address: Uint8Array) {
    this.address = address
  }
}

/**
 * Where a peer's UDP socket was or may be: what is probed while the session has to use a worse kind of path, and what rests because
 * it answers probes but carries no data.
 */
export class Remotes {
  readonly #remotes: Remote[] = []

  get all(): readonly Remote[] {
    return this.#remotes
  }

  find(address: Uint8Array): Remote | undefined {
    return this.#remotes.find((remote) => equalAddress(remote.address, 0, address, 0))
  }

  /** The entry of this address, made if need be. `proven`: the peer answered there. */
  add(address: Uint8Array, proven: boolean): Remote {
    let remote = this.find(address)
    if (remote === undefined) {
      remote = new Remote(address.slice(0, ADDRESS_SIZE))
      if (this.#remotes.length === REMOTES_MAX) this.#remotes.splice(Math.max(0, this.#remotes.findIndex((other) => !other.proven)), 1)
      this.#remotes.push(remote)
    }
    remote.proven ||= proven
    return remote
  }

  /** An address that somebody names: it takes a free place, or that of another that never answered, but of none that did. */
  offer(address: Uint8Array): void {
    if (this.find(address) !== undefined) return
    if (this.#remotes.length < REMOTES_MAX || this.#remotes.some((other) => !other.proven)) this.add(address, false)
  }

  /** An address that this node's own user names: it is asked at once, as if it never had been. */
  name(now: Instant, address: Uint8Array): void {
    const remote = this.add(address, false)
    remote.probes = 0
    remote.pause = PROBE_TIME
    if (remote.probeAt > now) remote.probeAt = now
  }

  /** All of a host that has proved to be the peer's: whoever is asked there is the peer's own machine, or its NAT. */
  trustHost(address: Uint8Array): void {
    for (const remote of this.#remotes) if (sameHost(remote.address, address)) remote.proven = true
  }

  /** Asks again at once: something has changed. */
  hurry(now: Instant, which: 'all' | 'proven' = 'all'): void {
    for (const remote of this.#remotes) {
      if (which === 'proven' && !remote.proven) continue
      remote.pause = PROBE_TIME
      if (remote.probeAt > now) remote.probeAt = now
    }
  }

  /** Addresses to ask now; each is put off until its next turn. `busy`: the session carries traffic. */
  due(now: Instant, busy: boolean): Remote[] {
    const due = this.#remotes.filter((remote) => remote.probeAt <= now && remote.quarantinedUntil <= now)
    for (const remote of due) {
      remote.probes++
      const slow = remote.proven ? !busy : remote.probes >= PROBES_UNPROVEN
      remote.pause = slow ? Math.min(2 * remote.pause, PROBE_TIME_MAX) : PROBE_TIME
      if (!remote.proven && slow) remote.pause = PROBE_TIME_MAX
      remote.probeAt = after(now, remote.pause)
    }
    return due
  }

  nextAt(): Instant {
    let next = never
    for (const remote of this.#remotes) next = Math.min(next, Math.max(remote.probeAt, remote.quarantinedUntil)) as Instant
    return next
  }

  answered(address: Uint8Array): void {
    const remote = this.find(address)
    if (remote === undefined) return
    remote.probes = 0
    remote.refused = undefined
    remote.pause = PROBE_TIME
  }

  /** Data sent there was lost though probes had been answered. Returns when its quarantine ends, if that begins now. */
  failed(now: Instant, address: Uint8Array): Instant | undefined {
    const remote = this.find(address)
    if (remote === undefined) return undefined
    remote.failures = [...remote.failures.filter((at) => now - at < FAILURE_TIME), now]
    if (remote.failures.length < FAILURES_MAX) return undefined
    remote.failures = []
    remote.quarantinedUntil = after(now, QUARANTINE_TIME)
    return remote.quarantinedUntil
  }

  quarantined(now: Instant, address: Uint8Array): boolean {
    const remote = this.find(address)
    return remote !== undefined && remote.quarantinedUntil > now
  }
}

/** Equal but for the port. */
export function sameHost(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < ADDRESS_SIZE - 2; i++) if (a[i] !== b[i]) return false
  return true
}
