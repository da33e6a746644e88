/**
 * What the Bluetooth transport and the programs that drive a radio say to each other. Each backend runs in a child process (net/ble/child.ts), so
 * its commands and events are plain data that crosses a pipe (net/ble/pipe.ts), and a crash or a leak of a package never touches the daemon.
 *
 * A backend finds the service, subscribes to TX and exchanges the MTU by itself; only then it says `opened`. It knows nothing of segments, credits or
 * sessions: one value is one ATT payload. It keeps no queue of values beyond what the controller takes: the transport sends at most
 * {@link VALUES_UNSENT_MAX} of a link that were not `sent` yet, and a backend that is given more may close that link.
 */

export const backendNames = ['hci', 'bluez', 'corebluetooth', 'virtual'] as const
export type BackendName = (typeof backendNames)[number]

/** The one GATT service and its two characteristics (WIRE.md §7): RX takes writes without response, TX notifies. */
export const SERVICE_UUID = '705f0001-8c2a-4d39-a2f0-6a5f1b0c9e01'
export const RX_UUID = '705f0002-8c2a-4d39-a2f0-6a5f1b0c9e01'
export const TX_UUID = '705f0003-8c2a-4d39-a2f0-6a5f1b0c9e01'

/** Bytes of the rotating hint in an advertisement (WIRE.md §5, 0x31). */
export const HINT_SIZE = 6
/** Bluetooth Core 5.4, vol 3 part F §3.2.8: the least ATT MTU; and what one attribute of 512 bytes needs with its opcode and handle. */
export const MTU_MIN = 23
export const MTU_MAX = 517
/** Bytes of a value: what the largest MTU leaves. */
export const VALUE_SIZE_MAX: number = MTU_MAX - 3
/** Values of one link that the transport has given to the backend and that were not `sent`. */
export const VALUES_UNSENT_MAX = 4

/** How often the radio shows itself or listens: `fast` while something is looked for, `slow` otherwise. What that means in slots is the backend's. */
export const paces = ['fast', 'slow'] as const
export type Pace = (typeof paces)[number]

export const roles = ['central', 'peripheral'] as const
/** Of this side of a link: the central dialed. */
export type Role = (typeof roles)[number]

/**
 * on: ready · off: present but powered down · absent: none in this machine, or it was pulled out · no_permission: this user may not ·
 * blocked: rfkill · resetting: comes back by itself · busy: another program has it
 */
export const adapterStates = ['on', 'off', 'absent', 'no_permission', 'blocked', 'resetting', 'busy'] as const
export type AdapterState = (typeof adapterStates)[number]

/**
 * What a backend drops, by who sent it. hci: the adapter, packets that make no sense · l2cap, att, security, signaling: a peer, frames that are none or that
 * no link of ours needs
 */
export const dropReasons = ['hci', 'l2cap', 'att', 'security', 'signaling'] as const
export type DropReason = (typeof dropReasons)[number]

export type BackendCommand =
  /** Anew with each change of hint or pace. Without a hint the service alone is advertised. */
  | { readonly kind: 'advertise'; readonly on: boolean; readonly hint: Uint8Array | undefined; readonly pace: Pace }
  | { readonly kind: 'scan'; readonly on: boolean; readonly pace: Pace }
  /** Answered by `opened` or `connectFailed`, also when `disconnect`ed or timed out. One dial at a time is what controllers do: others may wait inside. */
  | { readonly kind: 'connect'; readonly address: string; readonly timeoutMs: number }
  | { readonly kind: 'disconnect'; readonly link: number }
  | { readonly kind: 'send'; readonly link: number; readonly value: Uint8Array }
  /** Closes links, stops advertising and scanning, gives the adapter back. The last command. */
  | { readonly kind: 'stop' }

export type BackendEvent =
  /** The first event of every backend, and again with each change. */
  | { readonly kind: 'adapter'; readonly state: AdapterState; readonly detail: string }
  /** An advertisement with the service, or any that may carry it. May be told as often as it is heard; a backend may leave repetitions out within a second. */
  | { readonly kind: 'seen'; readonly address: string; readonly rssi: number; readonly hint: Uint8Array | undefined }
  /** Ready for values both ways. The number is unique in the life of this process. `intervalMs`: from one connection event to the next, where the backend knows. */
  | { readonly kind: 'opened'; readonly link: number; readonly role: Role; readonly address: string; readonly mtu: number; readonly intervalMs?: number }
  | { readonly kind: 'mtu'; readonly link: number; readonly mtu: number }
  | { readonly kind: 'received'; readonly link: number; readonly value: Uint8Array }
  /** So many more values are out of the controller, oldest first. */
  | { readonly kind: 'sent'; readonly link: number; readonly count: number }
  /** Whoever ended it. The number says nothing any more. */
  | { readonly kind: 'closed'; readonly link: number; readonly reason: string }
  | { readonly kind: 'connectFailed'; readonly address: string; readonly reason: string }
  /** So many more since the last time; told within a second or two. */
  | { readonly kind: 'dropped'; readonly reason: DropReason; readonly count: number }
  /** `unsupported`: this backend can never work here (a package, a bus or a system is missing), so it is not started again. All others are for people. */
  | { readonly kind: 'fault'; readonly code: string; readonly detail: string }

/** Commands are taken without an answer; everything that comes of them is an event. */
export interface BleBackend {
  readonly name: BackendName
  command(command: BackendCommand): void
  /** One handler; the events before it was set are kept, as many as the pipe keeps. Called from the event loop, never from inside `command`. */
  onEvent(handler: (event: BackendEvent) => void): void
  close(): Promise<void>
}

/** What a backend is opened with, as JSON on the child's command line. */
export interface BackendOptions {
  readonly name: BackendName
  /** Which adapter: `hci0`; absent: the first. */
  readonly adapter?: string
  /** `virtual`: the unix socket of the air's controller. `hci`: of a controller that is served as H4, instead of one of the kernel. */
  readonly socket?: string
  /** `hci`: where the native addon is, which opens the kernel's user channel. */
  readonly addon?: string
}

/** What a module of a backend exports. A rejection is told as `fault` with the error's code, `unsupported` when it has none. */
export type OpenBackend = (options: BackendOptions) => Promise<BleBackend>
