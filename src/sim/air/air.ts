import { AirController } from './controller.ts'
import { AirLink } from './link.ts'
import type { AirTime } from './air-time.ts'
import type { Link, Medium, Radio } from './parts.ts'

/** How the air is. Everything has a default: an ideal room in which everybody hears everybody. */
export interface AirOptions {
  readonly time: AirTime
  /** 0 ≤ x < 1; seeded in worlds. */
  readonly random?: () => number
  /** Signal strength in dBm at `to`; `undefined`: out of range. Asked anew for each packet, so nodes may move. */
  readonly rssi?: (from: Radio, to: Radio) => number | undefined
  /** Share of advertisements that a listener misses. */
  readonly advertisementLoss?: number
  /** Share of data packets that the link layer must send again, an interval later. */
  readonly dataLoss?: number
  /** Added to each data packet. */
  readonly latencyMs?: number
  /** What a radio carries in bits of data per second, over all of its links and in both directions; 0: without limit. */
  readonly bitsPerSecond?: number
  /** Whether data waits for the next connection event, as it does with real radios, or goes at once. */
  readonly connectionEvents?: boolean
  /** No longer than this between two advertisements, whatever the host asked for; 0: as it asked. For tests that need not wait. */
  readonly advertisingIntervalMaxMs?: number
  /** Buffers of a controller for ACL packets, and how long each may be. */
  readonly bufferCount?: number
  readonly bufferLength?: number
  /** Links of one controller; further ones are refused with 0x09. */
  readonly linkCountMax?: number
  /** Controllers at once; {@link VirtualAir.add} then gives none. */
  readonly controllerCountMax?: number
}

/** As many as anybody has met in one room. */
const CONTROLLERS_MAX = 1024
const RSSI_NEAR = -50

/**
 * A room with radios in it: emulated Low Energy controllers that speak HCI to their hosts and hear one another. It knows the medium only; what a
 * controller does is in `controller.ts`, what a link carries in `link.ts`.
 */
export class VirtualAir implements Medium {
  readonly time: AirTime
  readonly random: () => number
  readonly advertisementLoss: number
  readonly dataLoss: number
  readonly bufferCount: number
  readonly bufferLength: number
  readonly linkCountMax: number
  readonly advertisingIntervalMaxMs: number
  readonly connectionEvents: boolean
  /** These may change while links are open. */
  latencyMs: number
  bitsPerSecond: number
  readonly #controllerCountMax: number
  readonly #rssi: (from: Radio, to: Radio) => number | undefined
  /** BOUNDED by {@link AirOptions.controllerCountMax}. */
  readonly #controllers = new Set<Radio>()
  #addressCount = 0
  #handle = 0x40

  constructor(options: AirOptions) {
    this.time = options.time
    this.random = options.random ?? Math.random
    this.#rssi = options.rssi ?? ((): number => RSSI_NEAR)
    this.advertisementLoss = options.advertisementLoss ?? 0
    this.dataLoss = options.dataLoss ?? 0
    this.latencyMs = options.latencyMs ?? 0
    this.bitsPerSecond = options.bitsPerSecond ?? 0
    this.connectionEvents = options.connectionEvents ?? false
    this.advertisingIntervalMaxMs = options.advertisingIntervalMaxMs ?? 0
    this.bufferCount = options.bufferCount ?? 8
    this.bufferLength = options.bufferLength ?? 251
    this.linkCountMax = options.linkCountMax ?? 16
    this.#controllerCountMax = options.controllerCountMax ?? CONTROLLERS_MAX
  }

  get controllers(): ReadonlySet<Radio> {
    return this.#controllers
  }

  /** A new controller, powered and silent; `undefined` when the air is full. The address is its public one. */
  add(address?: Uint8Array): AirController | undefined {
    if (this.#controllers.size >= this.#controllerCountMax) return undefined
    const count = ++this.#addressCount
    const controller = new AirController(this, address ?? Uint8Array.of(count & 0xff, (count >>> 8) & 0xff, 0, 0, 0xde, 0xc0))
    this.#controllers.add(controller)
    return controller
  }

  remove(controller: Radio): void {
    this.#controllers.delete(controller)
  }

  /** Signal strength of one at the other; `undefined` when it is not heard. */
  heard(from: Radio, to: Radio): number | undefined {
    if (from === to || from.radioOff || to.radioOff) return undefined
    return this.#rssi(from, to)
  }

  connect(central: Radio, peripheral: Radio): Link {
    return new AirLink(this, central, peripheral, this.#nextHandle(central), this.#nextHandle(peripheral))
  }

  /** Handles differ at the two ends of a link, as they do with real controllers, so that nothing can mix them up unnoticed. Far more than a controller has links. */
  #nextHandle(at: Radio): number {
    do this.#handle = this.#handle >= 0xe00 ? 0x40 : this.#handle + 1
    while (at.ends.has(this.#handle))
    return this.#handle
  }
}
