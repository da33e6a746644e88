import { equalBytes } from '../base/bytes.ts'
import type { PeerHandle } from '../base/domain.ts'
import { BoundedQueue } from '../base/queue.ts'
import { after, minute, never, toInstant, type Duration, type Instant } from '../base/time.ts'
import type { PowerMode } from '../base/power-mode.ts'
import { dutyOf, scanWindow, SEARCH_TIME, type Pace } from './duty.ts'
import { bleRadioLimits, type BleRadioLimits } from './limits.ts'
import { isLeftBehind, Sightings, type FindFriend, type Sighting } from './sightings.ts'

export type RadioCommand =
  | { readonly kind: 'advertise'; readonly on: boolean; readonly hint: Uint8Array | undefined; readonly pace: Pace }
  | { readonly kind: 'scan'; readonly on: boolean; readonly pace: Pace }
  | { readonly kind: 'connect'; readonly address: string; readonly timeoutMs: number }

export type RadioEvent =
  /** A friend is in range, or at another address than before; `undefined`: no longer in range. */
  | { readonly kind: 'nearby'; readonly peer: PeerHandle; readonly address: string | undefined }
  | { readonly kind: 'dial-failed'; readonly token: number; readonly reason: DialFailure; readonly detail: string }

/** Why a dial failed. resting: it failed lately · timeout: nobody answered · refused: the radio says why · off: no adapter that works · cancelled: the host wished it */
export type DialFailure = 'resting' | 'timeout' | 'refused' | 'off' | 'cancelled'

/** Whether a link may stay, and whose link ends for it. */
export type Admission = { readonly admit: true; readonly evict: number | undefined } | { readonly admit: false }

interface Dial {
  readonly token: number
  readonly address: string
  readonly friend: boolean
}

interface RadioLink {
  readonly address: string
  readonly out: boolean
  readonly openedAt: Instant
  confirmed: boolean
}

/** A stranger's link is left alone for so long: an honest handshake takes less. */
const STRANGER_GRACE = 2_000_000
/** Links of one device that came to nothing in a row before those it opens are refused while it rests. */
const FLAPS_MAX = 4
/** Periods of listening after which a device that was not heard is out of range. */
const PERIODS_MISSED = 2.5
/** Who lost a friend looks for it hard, but not more often than this: the friend may be at the edge of the range. */
const LOST_SEARCH_PAUSE: Duration = 2 * minute
/** Beyond the time given to the backend for a dial. */
const DIAL_GRACE = 2_000_000
const EVENTS_MAX = 1024

/**
 * What the radio of a node does, and with whom: when it shows itself and listens, whom it hears, whom it dials next, and how many links it bears. Links'
 * bytes are {@link BleLink}'s business. Commands are repeated in full after the adapter was away.
 */
export class Radio {
  readonly sightings: Sightings
  readonly #limits: BleRadioLimits
  readonly #events = new BoundedQueue<RadioEvent>(EVENTS_MAX)
  readonly #links = new Map<number, RadioLink>()
  /** Dials that wait, friends first; at most `dialsMax`. */
  #waiting: Dial[] = []
  #running: { readonly dial: Dial; readonly until: Instant; cancelled: boolean } | undefined
  #on = false
  #mode: PowerMode
  #hint: Uint8Array | undefined
  #searchUntil: Instant = toInstant(0)
  /** Where scan windows are counted from. */
  #epoch: Instant = toInstant(0)
  #sightingsAt: Instant = never
  /** What the backend was told last. */
  #advertising: Extract<RadioCommand, { kind: 'advertise' }> | undefined
  #scanning: Extract<RadioCommand, { kind: 'scan' }> | undefined
  /** Where each friend in range was said to be. */
  readonly #told = new Map<PeerHandle, string>()

  constructor(mode: PowerMode, limits: BleRadioLimits, random: () => number) {
    this.#mode = mode
    this.#limits = limits
    this.sightings = new Sightings(limits, random)
    this.#setAge()
  }

  get on(): boolean {
    return this.#on
  }

  get mode(): PowerMode {
    return this.#mode
  }

  isSearching(now: Instant): boolean {
    return this.#searchUntil > now
  }

  get advertising(): boolean {
    return this.#advertising?.on === true
  }

  get scanning(): boolean {
    return this.#scanning?.on === true
  }

  /** Without an adapter there are no links and nobody in range; what was dialed fails. */
  handleAdapter(now: Instant, on: boolean): void {
    if (on === this.#on) return
    this.#on = on
    this.#advertising = undefined
    this.#scanning = undefined
    if (on) return this.search(now)
    for (const dial of [...this.#waiting, ...(this.#running?.cancelled === false ? [this.#running.dial] : [])]) this.#fail(dial, 'off', 'there is no Bluetooth adapter that works')
    this.#waiting = []
    this.#running = undefined
    this.#links.clear()
    this.sightings.clear()
    this.#tellNearby(now)
  }

  setMode(now: Instant, mode: PowerMode): void {
    this.#mode = mode
    this.#setAge()
    this.#sightingsAt = now
    this.search(now)
  }

  /** Who listens rarely may miss one chance to hear somebody without taking him for gone. */
  #setAge(): void {
    this.sightings.age = this.#limits.sightingAge * Math.max(1, (PERIODS_MISSED * dutyOf(this.#mode, false).scan.period) / bleRadioLimits.sightingAge)
  }

  /** The hint of this hour; `undefined`: this node shows none, and no friend knows it from afar. */
  setHint(hint: Uint8Array | undefined): void {
    this.#hint = hint
  }

  setFriends(now: Instant, find: FindFriend): void {
    this.sightings.setFriends(find)
    this.#tellNearby(now)
  }

  /** Looks hard for a while: somebody waits for it. */
  search(now: Instant): void {
    if (this.#searchUntil <= now) this.#epoch = now
    this.#searchUntil = after(now, SEARCH_TIME)
  }

  handleSeen(now: Instant, address: string, rssi: number, hint: Uint8Array | undefined): void {
    if (!this.#on) return
    const { peer } = this.sightings.handleSeen(now, address, rssi, hint)
    this.#sightingsAt = toInstant(Math.min(this.#sightingsAt, after(now, this.sightings.age)))
    if (peer !== undefined) this.#tell(now, peer)
  }

  // ── dials ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Each dial that is taken gets one answer: {@link handleOpened} or a `dial-failed`. */
  dial(now: Instant, address: string, token: number, friend: boolean): 'dialing' | 'full' | 'off' {
    if (!this.#on) return 'off'
    if (this.#waiting.length >= this.#limits.dialsMax) {
      const last = this.#waiting.findLastIndex((dial) => !dial.friend)
      if (!friend || last < 0) return 'full'
      this.#fail(this.#waiting.splice(last, 1)[0]!, 'cancelled', 'a friend goes first')
    }
    const dial: Dial = { token, address, friend }
    const rest = (this.sightings.get(address)?.restUntil ?? 0) - now
    if (rest > 0) this.#fail(dial, 'resting', `it failed lately, and rests for ${Math.ceil(rest / 1e6)} s`)
    else this.#waiting = [...this.#waiting.filter((other) => other.friend || !friend), dial, ...this.#waiting.filter((other) => !other.friend && friend)]
    return 'dialing'
  }

  cancelDial(token: number): void {
    const at = this.#waiting.findIndex((dial) => dial.token === token)
    if (at >= 0) this.#fail(this.#waiting.splice(at, 1)[0]!, 'cancelled', 'called off')
    else if (this.#running?.dial.token === token && !this.#running.cancelled) {
      this.#running.cancelled = true
      this.#fail(this.#running.dial, 'cancelled', 'called off')
    }
  }

  /** A link is ready: the token of the dial it answers, and whether there is room for it. */
  handleOpened(now: Instant, link: number, out: boolean, address: string): Admission & { readonly token: number | undefined } {
    const running = this.#running
    let token: number | undefined
    if (out) {
      // Nobody waits for it any more, or never did; who waits for another one still does.
      if (running?.dial.address !== address) return { admit: false, token: undefined }
      this.#running = undefined
      if (running.cancelled) return { admit: false, token: undefined }
      token = running.dial.token
    }
    const admission = this.#admit(now, out, address)
    if (admission.admit) this.#links.set(link, { address, out, openedAt: now, confirmed: false })
    return { ...admission, token }
  }

  handleConnectFailed(now: Instant, address: string, detail: string): void {
    const running = this.#running
    if (running?.dial.address !== address) return
    this.#running = undefined
    if (running.cancelled) return
    this.sightings.handleFailure(now, address)
    this.#fail(running.dial, 'refused', detail)
    this.#tellNearby(now)
  }

  handleConfirmed(link: number): void {
    const found = this.#links.get(link)
    if (found === undefined) return
    found.confirmed = true
  }

  /** `ours`: this side ended it because it was of no more use; that is no failure. */
  handleClosed(now: Instant, link: number, ours: boolean): void {
    const found = this.#links.get(link)
    if (found === undefined) return
    this.#links.delete(link)
    if (found.confirmed && !ours && after(this.#searchUntil, LOST_SEARCH_PAUSE) <= now) this.search(now)
    if (found.confirmed && (ours || after(found.openedAt, this.#limits.steady) <= now)) this.sightings.handleSuccess(found.address)
    else this.sightings.handleFailure(now, found.address)
    this.#sightingsAt = now
  }

  #admit(now: Instant, out: boolean, address: string): Admission {
    const known = this.sightings.get(address)
    if (!out && known !== undefined && known.failures >= FLAPS_MAX && known.restUntil > now) return { admit: false }
    const same = [...this.#links].filter(([, link]) => link.out === out)
    const strangers = same.filter(([, link]) => !link.confirmed)
    const tooMany = same.length >= (out ? this.#limits.outMax : this.#limits.inMax) || (!out && strangers.length >= this.#limits.unconfirmedMax)
    if (!tooMany) return { admit: true, evict: undefined }
    // Dials are counted before they begin; so it is others who knock.
    const oldest = strangers.find(([, link]) => after(link.openedAt, STRANGER_GRACE) <= now)
    return out || oldest === undefined ? { admit: false } : { admit: true, evict: oldest[0] }
  }

  // ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  pollEvent(): RadioEvent | undefined {
    return this.#events.shift()
  }

  /** What is to be said to the backend now, one after the other. */
  pollCommand(now: Instant): RadioCommand | undefined {
    if (!this.#on) return undefined
    return this.#pollAdvertise(now) ?? this.#pollScan(now) ?? this.#pollConnect(now)
  }

  handleTimeout(now: Instant): void {
    const running = this.#running
    if (running !== undefined && running.until <= now) {
      this.#running = undefined
      if (!running.cancelled) {
        this.sightings.handleFailure(now, running.dial.address)
        this.#fail(running.dial, 'timeout', 'the radio did not answer')
      }
    }
    if (this.#sightingsAt > now) return
    this.#sightingsAt = this.sightings.expire(now)
    this.#tellNearby(now)
  }

  nextTimeout(now: Instant): Instant {
    if (!this.#on) return never
    const searching = this.#searchUntil > now
    const { scan } = dutyOf(this.#mode, searching)
    const next = Math.min(this.#sightingsAt, this.#running?.until ?? never, searching ? this.#searchUntil : never)
    return toInstant(scan.window === scan.period ? next : Math.min(next, scanWindow(scan, this.#epoch, now).until))
  }

  get #mayConnect(): boolean {
    return this.#waiting.length > 0 && this.#running === undefined && [...this.#links.values()].filter((link) => link.out).length < this.#limits.outMax
  }

  #pollAdvertise(now: Instant): RadioCommand | undefined {
    const room = [...this.#links.values()].filter((link) => !link.out && link.confirmed).length < this.#limits.inMax
    const pace = dutyOf(this.#mode, this.#searchUntil > now).advertise
    const before = this.#advertising
    if (before?.on === room && before.pace === pace && sameHint(before.hint, this.#hint)) return undefined
    this.#advertising = { kind: 'advertise', on: room, hint: this.#hint, pace }
    return this.#advertising
  }

  #pollScan(now: Instant): RadioCommand | undefined {
    const { scan } = dutyOf(this.#mode, this.#searchUntil > now)
    // A controller that connects does not hear well, and noble stops scanning by itself.
    const on = this.#running === undefined && !this.#mayConnect && scanWindow(scan, this.#epoch, now).open
    if ((this.#scanning?.on ?? false) === on && (!on || this.#scanning?.pace === scan.pace)) return undefined
    this.#scanning = { kind: 'scan', on, pace: scan.pace }
    return this.#scanning
  }

  #pollConnect(now: Instant): RadioCommand | undefined {
    if (!this.#mayConnect) return undefined
    const dial = this.#waiting.shift()!
    this.#running = { dial, until: after(now, this.#limits.connect + DIAL_GRACE), cancelled: false }
    return { kind: 'connect', address: dial.address, timeoutMs: Math.round(this.#limits.connect / 1000) }
  }

  #fail({ token }: Dial, reason: DialFailure, detail: string): void {
    this.#events.push({ kind: 'dial-failed', token, reason, detail })
  }

  /** Says where friends are, if that is not what was said. */
  #tellNearby(now: Instant): void {
    const peers = new Set<PeerHandle>(this.#told.keys())
    for (const { peer } of this.sightings) if (peer !== undefined) peers.add(peer)
    for (const peer of peers) this.#tell(now, peer)
  }

  #tell(now: Instant, peer: PeerHandle): void {
    const best: Sighting | undefined = this.sightings.bestOf(now, peer)
    const before = this.#told.get(peer)
    // Signals waver: another address is said only when this one is gone, was given up, or rests.
    if (before !== undefined && best !== undefined) {
      const old = this.sightings.get(before)
      if (old?.peer === peer && this.sightings.isFresh(old, now) && !isLeftBehind(old, best) && (old.restUntil <= now || best.restUntil > now)) return
    }
    if (best?.address === before) return
    if (best === undefined) this.#told.delete(peer)
    else this.#told.set(peer, best.address)
    this.#events.push({ kind: 'nearby', peer, address: best?.address })
  }
}

function sameHint(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalBytes(a, b)
}
