import type { BleEvents } from '../../core/wire/ipc/ipc-ble.ts'

/** What the signal has to change by before it is told anew, dB; and how often it is looked at. */
const RSSI_STEP = 3
const LOOK_MS = 1000
/** What happens is told after this: a burst of it is one look. */
const SOON_MS = 100

export type BleEvent = { readonly [N in keyof BleEvents]: { readonly name: N; readonly params: BleEvents[N] } }[keyof BleEvents]

/** Everything about Bluetooth that has a state: `adapter`, `window`, `device …`, `link …`, `pair …`. */
export type BleScene = ReadonlyMap<string, BleEvent>

/**
 * Sees what changed, for those who subscribed to it: from one look to the next, so that however much happens on the air is told at most ten times a second, and
 * signals once. Nothing is looked at while nobody listens.
 */
export class BleWatch {
  readonly #look: () => BleScene
  readonly #tell: (key: string) => void
  /** As it was told. Bounded by what a look gives: devices and links are, in core/ble. */
  #told: BleScene = new Map()
  /** Of this turn: who is told of everything asks for one thing after the other. */
  #scene: BleScene | undefined
  #timer: NodeJS.Timeout | undefined
  #soon: NodeJS.Timeout | undefined

  constructor(look: () => BleScene, tell: (key: string) => void) {
    this.#look = look
    this.#tell = tell
  }

  /** Somebody listens, or nobody any more. */
  watch(on: boolean): void {
    if (on === (this.#timer !== undefined)) return
    clearInterval(this.#timer)
    clearTimeout(this.#soon)
    this.#timer = this.#soon = undefined
    if (!on) return
    this.#told = this.#look()
    this.#timer = setInterval(() => this.#compare(), LOOK_MS).unref()
  }

  /** Something happened. */
  poke(): void {
    if (this.#timer === undefined || this.#soon !== undefined) return
    this.#soon = setTimeout(() => {
      this.#soon = undefined
      this.#compare()
    }, SOON_MS).unref()
  }

  keys(): readonly string[] {
    return [...this.#now().keys()]
  }

  /** The thing as it is now, or that it is gone. */
  describe(key: string): BleEvent {
    return this.#now().get(key) ?? gone(key)
  }

  #now(): BleScene {
    if (this.#scene !== undefined) return this.#scene
    setImmediate(() => { this.#scene = undefined })
    return this.#scene = this.#look()
  }

  #compare(): void {
    const now = this.#look()
    const told = new Map<string, BleEvent>()
    for (const [key, event] of now) {
      const before = this.#told.get(key)
      const isNews = before === undefined || differs(before, event)
      if (isNews) this.#tell(key)
      told.set(key, isNews ? event : before)
    }
    for (const key of this.#told.keys()) if (!now.has(key)) this.#tell(key)
    this.#told = told
  }
}

/** The age of a sighting is no news, nor is a signal that wavers. */
function differs(before: BleEvent, now: BleEvent): boolean {
  const [a, b] = [before.params as { rssi?: number; ageMs?: number }, now.params as { rssi?: number; ageMs?: number }]
  const wavers = a.rssi !== undefined && b.rssi !== undefined && Math.abs(a.rssi - b.rssi) < RSSI_STEP
  return JSON.stringify({ ...a, ageMs: 0 }) !== JSON.stringify({ ...b, ageMs: 0, ...(wavers ? { rssi: a.rssi } : {}) })
}

function gone(key: string): BleEvent {
  const [kind, name = ''] = key.split(' ')
  switch (kind) {
    case 'link':
      return { name: 'event.ble.link', params: { address: name, open: false } }
    case 'pair':
      return { name: 'event.ble.pairing', params: { peer: name, state: 'forgotten' } }
    default:
      return { name: 'event.ble.device', params: { address: name, inRange: false } }
  }
}
