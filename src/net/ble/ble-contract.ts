import { toInstant, type Instant } from '../../core/base/time.ts'
import type { PowerMode } from '../../core/base/power-mode.ts'
import type { BleLinkLimits, BleRadioLimits } from '../../core/ble/limits.ts'
import type { PeerHandle } from '../../core/endpoint/contract.ts'
import type { ConnectionHost } from '../driver.ts'
import type { AdapterState, BleBackend } from './backend.ts'

export interface BleHost extends ConnectionHost {
  /** A friend is in range at this address (18 bytes); `undefined`: no longer. Said with each change. */
  nearby(peer: PeerHandle, address: Uint8Array | undefined): void
  /** The adapter came, went, or says why it does not work. */
  adapter(state: AdapterState, detail: string): void
}

/** What the driver asks of the machine, so that a test can play its clock. */
export interface BleSystem {
  now(): Instant
  setTimeout(run: () => void, milliseconds: number): unknown
  clearTimeout(handle: unknown): void
  /** As setImmediate. */
  soon(run: () => void): void
  random(): number
}

export const bleSystem: BleSystem = {
  now: () => toInstant(performance.now() * 1000),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout | undefined),
  soon: (run) => void setImmediate(run),
  random: () => Math.random(),
}

export interface BleOptions {
  /** A backend, started: one for each {@link BleDriver.start}. */
  readonly backend: () => BleBackend
  readonly mode: PowerMode
  readonly linkLimits?: Partial<BleLinkLimits>
  readonly radioLimits?: Partial<BleRadioLimits>
  readonly system?: BleSystem
}

/** Somebody in range. */
export interface NearbyDevice {
  readonly address: string
  /** Whose hint it shows. */
  readonly peer: PeerHandle | undefined
  readonly hint: Uint8Array | undefined
  readonly rssi: number
  /** Microseconds since it was heard. */
  readonly age: number
}

export interface BleLinkFacts {
  /** dBm, of the other's advertisements, if those were heard lately. */
  readonly rssi?: number
  readonly mtu: number
  readonly intervalMs?: number
}

export interface AdapterHealth {
  readonly state: AdapterState
  readonly detail: string
}
