import { boundary, encodeAcl, hciStatus } from '../../core/wire/hci.ts'
import type { End, Link, Medium, Radio } from './parts.ts'

/** What a packet of data of the link layer holds before its length is negotiated. */
const OCTETS_DEFAULT = 27
/** Between checks whether the other one is still heard, on a link with nothing to carry. */
const CHECKS_PER_TIMEOUT = 4

/** One of the two ends: what its host has given to the controller and the other has not got. */
class AirEnd implements End {
  readonly link: AirLink
  readonly controller: Radio
  readonly role: 'central' | 'peripheral'
  readonly handle: number
  /** BOUNDED by the controller's buffers: a host that overruns them is told so and the packet is gone. */
  readonly waiting: { readonly at: number; readonly flag: number; readonly data: Uint8Array }[] = []
  octets: number = OCTETS_DEFAULT
  cancelTimer: (() => void) | undefined

  constructor(link: AirLink, controller: Radio, role: 'central' | 'peripheral', handle: number) {
    this.link = link
    this.controller = controller
    this.role = role
    this.handle = handle
  }

  get peer(): AirEnd {
    return this === this.link.central ? this.link.peripheral : this.link.central
  }
}

/**
 * A connection of two controllers. It is reliable and in order, as the link layer makes it: what is lost is sent again, and when the other is not heard for
 * the supervision timeout, both ends are told that the link is gone.
 */
export class AirLink implements Link {
  readonly central: AirEnd
  readonly peripheral: AirEnd
  readonly #air: Medium
  readonly #openedAt: number
  /** Milliseconds. */
  intervalMs = 0
  supervisionMs = 0
  /** Until then the two are in the middle of an event and need not wait for the next. */
  #activeUntil = 0
  #lostSince: number | undefined
  #cancelCheck: (() => void) | undefined
  #open = true

  constructor(air: Medium, central: Radio, peripheral: Radio, centralHandle: number, peripheralHandle: number) {
    this.#air = air
    this.#openedAt = air.time.now()
    this.central = new AirEnd(this, central, 'central', centralHandle)
    this.peripheral = new AirEnd(this, peripheral, 'peripheral', peripheralHandle)
  }

  /** In units of HCI: 1.25 ms and 10 ms. */
  setParameters(interval: number, supervision: number): void {
    this.intervalMs = interval * 1.25
    this.supervisionMs = supervision * 10
    this.#cancelCheck?.()
    this.#check()
  }

  /** Takes a packet of a host for the other. The controller has a buffer for it. */
  send(of: End, flag: number, data: Uint8Array): void {
    const end = this.#mine(of)
    const now = this.#air.time.now()
    end.waiting.push({ at: this.#arrival(end, now, data.length), flag, data })
    if (end.waiting.length === 1) this.#arm(end, now)
  }

  #mine(end: End): AirEnd {
    return end.role === 'central' ? this.central : this.peripheral
  }

  /** When a packet is through, by the radios of both ends, the connection events, losses and the latency. */
  #arrival(end: AirEnd, now: number, length: number): number {
    const air = this.#air
    const { controller: a } = end
    const { controller: b } = end.peer
    let start = Math.max(now, a.radioBusyUntil, b.radioBusyUntil)
    if (air.connectionEvents && start > this.#activeUntil) start = this.#openedAt + Math.ceil((start - this.#openedAt) / this.intervalMs) * this.intervalMs
    while (air.dataLoss > 0 && air.random() < air.dataLoss) start += this.intervalMs
    const done = start + (air.bitsPerSecond > 0 ? (length * 8000) / air.bitsPerSecond : 0)
    a.radioBusyUntil = b.radioBusyUntil = this.#activeUntil = done
    return done + air.latencyMs
  }

  #arm(end: AirEnd, now: number): void {
    const wait = end.waiting[0]!.at - now
    if (wait <= 0) this.#air.time.soon(() => this.#deliver(end))
    else end.cancelTimer = this.#air.time.after(wait, () => this.#deliver(end))
  }

  #deliver(end: AirEnd): void {
    if (!this.#open || end.waiting.length === 0) return
    const now = this.#air.time.now()
    const hearing = this.#hearing(now)
    if (hearing === 'waiting') end.cancelTimer = this.#air.time.after(Math.max(1, this.intervalMs), () => this.#deliver(end))
    if (hearing !== 'heard') return
    let count = 0
    while (count < end.waiting.length && end.waiting[count]!.at <= now) count++
    for (const { flag, data } of end.waiting.splice(0, count)) this.#handOver(end.peer, flag, data)
    if (count > 0) end.controller.completed(end.handle, count)
    if (end.waiting.length > 0) this.#arm(end, now)
  }

  /** In pieces that the other's host has buffers for. */
  #handOver(to: AirEnd, flag: number, data: Uint8Array): void {
    const length = this.#air.bufferLength
    let first = flag === boundary.continuing ? boundary.continuing : boundary.first
    let at = 0
    do {
      to.controller.emit(encodeAcl(to.handle, first, data.subarray(at, at + length)))
      first = boundary.continuing
      at += length
    } while (at < data.length)
  }

  #hearing(now: number): 'heard' | 'waiting' | 'gone' {
    if (this.#air.heard(this.central.controller, this.peripheral.controller) !== undefined) {
      this.#lostSince = undefined
      return 'heard'
    }
    this.#lostSince ??= now
    if (now - this.#lostSince < this.supervisionMs) return 'waiting'
    this.#endFor(undefined, hciStatus.connectionTimeout)
    return 'gone'
  }

  #check(): void {
    this.#cancelCheck = this.#air.time.after(Math.max(10, this.supervisionMs / CHECKS_PER_TIMEOUT), () => {
      if (this.#hearing(this.#air.time.now()) !== 'gone') this.#check()
    })
  }

  /** Ended by the host of one end, or, without one, by the radio. A host whose peer is not heard learns it when the link has timed out. */
  end(by: End | undefined, reason: number): void {
    if (!this.#open) return
    if (by !== undefined && this.#air.heard(this.central.controller, this.peripheral.controller) === undefined) {
      this.#lostSince ??= this.#air.time.now()
      return
    }
    this.#endFor(by, reason)
  }

  #endFor(by: End | undefined, reason: number): void {
    this.#open = false
    this.#cancelCheck?.()
    for (const end of [this.central, this.peripheral]) {
      end.cancelTimer?.()
      end.waiting.length = 0
      end.controller.ended(end, by === end ? hciStatus.localEnded : reason)
    }
  }

  /** One host has reset its controller: it hears nothing of it, the other sees the link time out. */
  abandon(end: End): void {
    if (!this.#open) return
    this.#open = false
    this.#cancelCheck?.()
    for (const each of [this.central, this.peripheral]) {
      each.cancelTimer?.()
      each.waiting.length = 0
    }
    end.peer.controller.ended(end.peer, hciStatus.connectionTimeout)
  }
}

