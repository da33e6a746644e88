import { compareBytes, toHex } from '../../core/base/bytes.ts'
import { PosternError } from '../../core/base/errors.ts'
import { second, type Duration } from '../../core/base/time.ts'
import type { PeerHandle } from '../../core/endpoint/contract.ts'
import type { BleState, PairAnswerParams, PairExchange, PairStatusResult } from '../../core/wire/ipc/ipc-ble.ts'
import type { Nothing } from '../../core/wire/ipc/ipc-json.ts'
import { bleAddressOf } from '../../net/ble/addresses.ts'
import type { NodeRuntime } from '../node-runtime.ts'
import type { RadioEvent } from './radio-log.ts'
import { idBytes } from '../router.ts'

/**
 * Two that dial one another at once would compare twice, or not at all. Each sees the other's hint: the lower one dials. The other does so only when it
 * was not dialed for so long, since some see no hints.
 */
const YIELD_MS = 6000
const LOOK_MS = 500
/** A device that did not answer is asked again after this: its owner may have started later. */
const AGAIN_MS = 12_000
/** Exchanges that are remembered; of those that ended the oldest leaves, then the oldest. */
const EXCHANGES_MAX = 8
/** Two people who compare are left in peace for so long; then others are looked for as long, since it may be a stranger whose code nobody else has. */
const PEACE_MS = 10_000
const DIALED_MAX = 256

/** Who was not heard for so long has gone. */
const HEARD: Duration = 10 * second

/** The radio, as much of it as is needed here. */
export interface Surroundings {
  readonly state: BleState
  readonly reason: string
  search(): void
  devices(): readonly RadioDevice[]
}

export interface RadioDevice {
  readonly address: string
  readonly peer: PeerHandle | undefined
  readonly hint: Uint8Array | undefined
  readonly age: Duration
}

interface Exchange {
  readonly code: string
  state: PairExchange['state']
}

/** Pairs with a machine in range: while a window is open, strangers are dialed one after the other, the nearest first, and people compare codes. */
export class PairingService {
  readonly #runtime: NodeRuntime
  readonly #ble: Surroundings
  readonly #persisted: () => Promise<void>
  readonly #exchanges = new Map<PeerHandle, Exchange>()
  /** Where the peer of an exchange is, 18 bytes in hexadecimal: it is not dialed once more. As many as there are dials. */
  readonly #addresses = new Map<PeerHandle, string>()
  /** When each address was dialed, of this window. */
  readonly #dialed = new Map<string, number>()
  #until = 0
  #yieldUntil = 0
  #peaceUntil = -Infinity
  #timer: NodeJS.Timeout | undefined

  constructor(runtime: NodeRuntime, ble: Surroundings, persisted: () => Promise<void>) {
    this.#runtime = runtime
    this.#ble = ble
    this.#persisted = persisted
  }

  start({ timeoutS }: { readonly timeoutS: number }): PairStatusResult {
    if (this.#ble.state !== 'on') throw new PosternError('unreachable', `Pairing needs Bluetooth. ${this.#ble.reason}`, { hint: 'Without it: postern invite here, postern join there.' })
    this.stop()
    const { endpoint } = this.#runtime
    endpoint.radio.openPairing(this.#runtime.now(), timeoutS * second)
    this.#until = performance.now() + timeoutS * 1000
    this.#ble.search()
    this.#yieldUntil = performance.now() + YIELD_MS
    this.#timer = setTimeout(() => this.#look(), LOOK_MS)
    return this.status()
  }

  status(): PairStatusResult {
    const { endpoint } = this.#runtime
    const open = endpoint.radio.pairingOpen(this.#runtime.now())
    const exchanges = [...this.#exchanges].map(([peer, { code, state }]): PairExchange => ({ peer: endpoint.peerId(peer) ?? '', code, state }))
    return { open, leftMs: open ? Math.max(0, Math.round(this.#until - performance.now())) : 0, inRange: this.#strangers().length, exchanges }
  }

  /** With `same` from both sides the peer is in the roster; without, the exchange is over. */
  async answer({ id, same }: PairAnswerParams): Promise<Nothing> {
    const { radio } = this.#runtime.endpoint
    const peer = this.#runtime.endpoint.findPeer(idBytes(id))
    const now = this.#runtime.now()
    const taken = peer !== undefined && (same ? radio.acceptPairing(now, peer) : radio.rejectPairing(now, peer))
    this.#runtime.schedule()
    const exchange = peer === undefined ? undefined : this.#exchanges.get(peer)
    if (!taken || exchange === undefined) throw new PosternError('unknown_peer', 'There is no such exchange any more.', { hint: 'Start again on both machines: postern pair' })
    if (exchange.state === 'comparing') exchange.state = same ? 'accepted' : 'ended'
    await this.#persisted()
    return {}
  }

  stop(): Nothing {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#exchanges.clear()
    this.#addresses.clear()
    this.#dialed.clear()
    this.#peaceUntil = -Infinity
    this.#runtime.endpoint.radio.closePairing(this.#runtime.now())
    this.#runtime.schedule()
    return {}
  }

  onEvent(event: RadioEvent): void {
    switch (event.kind) {
      case 'pairing':
        this.#exchanges.delete(event.peer)
        if (this.#exchanges.size >= EXCHANGES_MAX) this.#exchanges.delete(this.#oldest())
        this.#exchanges.set(event.peer, { code: event.code, state: 'comparing' })
        if (performance.now() >= this.#peaceUntil + PEACE_MS) this.#peaceUntil = performance.now() + PEACE_MS
        return
      case 'link-peer':
        this.#addresses.delete(event.peer)
        if (this.#addresses.size >= DIALED_MAX) this.#addresses.delete(this.#addresses.keys().next().value!)
        this.#addresses.set(event.peer, toHex(event.address))
        return
      case 'paired':
        this.#note(event.peer, 'paired')
        return
      case 'pairing-ended':
        this.#note(event.peer, 'ended')
        return
      default:
        // Whom nobody answered is the log's.
    }
  }

  #note(peer: PeerHandle, state: PairExchange['state']): void {
    const exchange = this.#exchanges.get(peer)
    if (exchange !== undefined) exchange.state = state
  }

  #oldest(): PeerHandle {
    for (const [peer, { state }] of this.#exchanges) if (state === 'ended') return peer
    return this.#exchanges.keys().next().value!
  }

  /** Nobody is dialed once it is known who is meant, nor while two people have begun to compare. */
  #look(): void {
    const { radio } = this.#runtime.endpoint
    const now = this.#runtime.now()
    if (!radio.pairingOpen(now)) return
    this.#timer = setTimeout(() => this.#look(), LOOK_MS)
    const exchanges = [...this.#exchanges]
    const at = performance.now()
    if (exchanges.some(([, { state }]) => state === 'accepted' || state === 'paired') || (at < this.#peaceUntil && exchanges.some(([, { state }]) => state === 'comparing'))) return
    this.#ble.search()
    const here = new Set(exchanges.flatMap(([peer, { state }]) => state === 'ended' ? [] : [this.#addresses.get(peer)]))
    const own = radio.hint(now)
    const yields = (hint: Uint8Array | undefined): boolean => hint !== undefined && at < this.#yieldUntil && compareBytes(own, hint) > 0
    const next = this.#strangers().find(({ address, hint }) => !yields(hint) && !here.has(toHex(bleAddressOf(address))) && at - (this.#dialed.get(address) ?? -Infinity) >= AGAIN_MS)?.address
    if (next === undefined || this.#dialed.size >= DIALED_MAX) return
    this.#dialed.set(next, at)
    radio.dialStranger(now, bleAddressOf(next))
    this.#runtime.schedule()
  }

  #strangers(): readonly RadioDevice[] {
    return this.#ble.devices().filter(({ peer, age }) => peer === undefined && age < HEARD)
  }

  close(): void {
    clearTimeout(this.#timer)
  }
}
