/** What the parts of an air know of one another. */
import type { AirTime } from './air-time.ts'

/** The room, as its controllers and links see it (`air.ts`). */
export interface Medium {
  readonly time: AirTime
  readonly random: () => number
  readonly advertisementLoss: number
  readonly dataLoss: number
  readonly latencyMs: number
  readonly bitsPerSecond: number
  readonly connectionEvents: boolean
  readonly advertisingIntervalMaxMs: number
  readonly bufferCount: number
  readonly bufferLength: number
  readonly linkCountMax: number
  readonly controllers: ReadonlySet<Radio>
  remove(controller: Radio): void
  heard(from: Radio, to: Radio): number | undefined
  connect(central: Radio, peripheral: Radio): Link
}

/** A create command that waits for an advertisement. Units are those of HCI. */
export interface Initiating {
  readonly peerType: number
  readonly peer: Uint8Array
  readonly ownType: number
  readonly interval: number
  readonly latency: number
  readonly supervision: number
}

export interface Advertising {
  on: boolean
  intervalMs: number
  type: number
  ownType: number
  data: Uint8Array
  scanResponse: Uint8Array
}

export interface Scanning {
  on: boolean
  active: boolean
  ownType: number
  /** Of the time, that it listens: its window divided by its interval. */
  share: number
  dropDuplicates: boolean
}

/** A controller, as the room, its links and its commands see it (`controller.ts`). */
export interface Radio {
  readonly air: Medium
  readonly publicAddress: Uint8Array
  readonly radioOff: boolean
  /** By handle. */
  readonly ends: Map<number, End>
  radioBusyUntil: number
  randomAddress: Uint8Array | undefined
  eventMask: Uint8Array
  leEventMask: Uint8Array
  advertising: Advertising
  scanning: Scanning
  initiating: Initiating | undefined
  defaultOctets: number
  ownAddress(type: number): Uint8Array | undefined
  reset(): void
  setScanning(on: boolean, dropDuplicates: boolean): void
  setAdvertising(on: boolean): void
  endInitiating(status: number): void
  /** An advertisement of another is in the air. */
  hear(advertisement: HeardAdvertisement): void
  emit(packet: Uint8Array): void
  event(code: number, ...parts: readonly Uint8Array[]): void
  leMeta(code: number, ...parts: readonly Uint8Array[]): void
  complete(code: number, status: number, ...parts: readonly Uint8Array[]): void
  status(code: number, status: number): void
  completed(handle: number, count: number): void
  ended(end: End, reason: number): void
}

export interface HeardAdvertisement {
  readonly type: number
  readonly addressType: number
  readonly address: Uint8Array
  readonly data: Uint8Array
  readonly scanResponse: Uint8Array
  readonly rssi: number
}

/** One of the two ends of a link (`link.ts`). */
export interface End {
  readonly link: Link
  readonly controller: Radio
  readonly role: 'central' | 'peripheral'
  readonly handle: number
  readonly peer: End
  /** Packets that its host gave to the controller and the other has not got. */
  readonly waiting: readonly unknown[]
  octets: number
}

export interface Link {
  readonly central: End
  readonly peripheral: End
  setParameters(interval: number, supervision: number): void
  send(end: End, flag: number, data: Uint8Array): void
  end(by: End | undefined, reason: number): void
  abandon(end: End): void
}
