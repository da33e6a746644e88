/** What the daemon tells of Bluetooth: the answers to `ble.status` and `ble.nearby`. */
import type { PeerState } from '../../base/domain.ts'
import type { PowerMode } from '../../base/power-mode.ts'
import type { Nothing } from './ipc-json.ts'

/**
 * on: ready · off: present but powered down · absent: none in this machine, or none that works · no_permission: this user may not · blocked: rfkill ·
 * resetting: comes back by itself · busy: another program has it · disabled: by configuration
 */
export const bleStates = ['on', 'off', 'absent', 'no_permission', 'blocked', 'resetting', 'busy', 'disabled'] as const
export type BleState = (typeof bleStates)[number]

export interface IpcBleHealth {
  readonly state: BleState
  /** Why it is so, as one sentence for people. */
  readonly reason: string
}

/** What `status` has of it. */
export interface IpcBleSummary extends IpcBleHealth {
  readonly mode: PowerMode
  readonly friendsInRange: number
  readonly links: number
}

export interface BleLinkInfo {
  readonly address: string
  /** Whose session it carries, or may carry. */
  readonly peer?: string
  readonly name?: string
  /** This side dialed it. */
  readonly dialed: boolean
  /** active: it carries the traffic · standby: another path does · stranger: nobody was authenticated on it yet */
  readonly use: 'active' | 'standby' | 'stranger'
  /** dBm, of the other's advertisements, if those were heard lately. */
  readonly rssi?: number
  /** ATT MTU, bytes. */
  readonly mtu?: number
  /** From one connection event to the next, when the link was opened; absent where the backend is not told. */
  readonly intervalMs?: number
}

/** What a power mode costs, and what one has of it. */
export interface BleDutyCost {
  /** From one advertisement to the next. */
  readonly advertiseMs: number
  /** Share of the time that the receiver is on, 0 … 1. */
  readonly listens: number
  /** Who comes into range, and shows itself as often, is found within. */
  readonly foundMs: number
}

export interface BlePowerMode {
  readonly mode: PowerMode
  /** For half a minute after somebody looks, the network is lost, or the radio begins. */
  readonly searching: BleDutyCost
  readonly calm: BleDutyCost
}

/** exact: as the modes say · partly: the system decides how hard it listens while it does · none: the system decides all of it */
export const blePowerControls = ['exact', 'partly', 'none'] as const

export interface BlePowerResult {
  /** In force. */
  readonly mode: PowerMode
  /** What the daemon begins with: [ble] mode. */
  readonly configured: PowerMode
  readonly searching: boolean
  /** How far the backend keeps to it; absent where nothing drives a radio. */
  readonly control?: (typeof blePowerControls)[number]
  readonly modes: readonly BlePowerMode[]
}

export interface BlePowerParams {
  /** Absent: it is only shown. */
  readonly mode?: PowerMode
}

export interface BleStatusResult extends IpcBleHealth {
  /** What drives the radio; absent where nothing does. */
  readonly backend?: string
  /** How much is spent on finding and being found: active, background, saver. */
  readonly mode: PowerMode
  /** It looks hard just now. */
  readonly searching: boolean
  readonly advertising: boolean
  readonly scanning: boolean
  /** Devices with the service that were heard lately, and friends among them. */
  readonly inRange: number
  readonly friendsInRange: number
  readonly links: readonly BleLinkInfo[]
}

export interface BleDevice {
  readonly address: string
  /** dBm, smoothed. */
  readonly rssi: number
  readonly ageMs: number
  /** Whose hint it shows: no proof yet. Absent: a stranger. */
  readonly peer?: string
  readonly name?: string
  /** Of the session with that peer. */
  readonly peerState?: PeerState
}

export interface BleNearbyResult extends IpcBleHealth {
  /** Friends, then strangers where those are allowed ([ble] strangers); the strongest first. */
  readonly devices: readonly BleDevice[]
  /** Devices in range that are not listed: strangers, where [ble] strangers is false. */
  readonly others: number
}

/** comparing: two people look at the code · accepted: here they said that it is the same · paired: on both sides · ended: it came to nothing */
export const pairStates = ['comparing', 'accepted', 'paired', 'ended'] as const

export interface PairExchange {
  readonly peer: string
  /** Eight digits: the same on both machines if nobody stands between. */
  readonly code: string
  readonly state: (typeof pairStates)[number]
}

export interface PairStartParams {
  /** 10 … 600; 120. */
  readonly timeoutS?: number
}

export interface PairAnswerParams {
  readonly id: string
  readonly same: boolean
}

export interface PairStatusResult {
  /** The window is open: strangers may begin an exchange. */
  readonly open: boolean
  readonly leftMs: number
  /** Devices in range that are none of this node's peers. */
  readonly inRange: number
  readonly exchanges: readonly PairExchange[]
}

/** The topic `ble`: one event for each thing, as it is when the event is written. */
export interface BleEvents {
  'event.ble.adapter': IpcBleHealth & { readonly backend?: string; readonly mode: PowerMode }
  /** Whom `ble.nearby` lists; the signal is told anew when it has changed by 3 dB, at most once a second. Gone: address and inRange alone. */
  'event.ble.device': (BleDevice & { readonly inRange: true }) | { readonly address: string; readonly inRange: false }
  'event.ble.link': (BleLinkInfo & { readonly open: true }) | { readonly address: string; readonly open: false }
  /** Without a peer: the window in which strangers may compare. With one: an exchange; its digits are for who may ask for them (`pair.status`). */
  'event.ble.pairing': { readonly state: 'open' | 'closed' } | { readonly peer: string; readonly state: PairExchange['state'] | 'forgotten' }
}

/** The methods about Bluetooth: what a client writes, what the daemon's handler sees, what comes back. */
export interface BleMethods {
  'ble.status': { params: Nothing; request: Nothing; result: BleStatusResult }
  'ble.power': { params: BlePowerParams; request: { readonly mode: PowerMode | undefined }; result: BlePowerResult }
  'ble.nearby': { params: Nothing; request: Nothing; result: BleNearbyResult }
  'pair.start': { params: PairStartParams; request: Required<PairStartParams>; result: PairStatusResult }
  'pair.status': { params: Nothing; request: Nothing; result: PairStatusResult }
  'pair.answer': { params: PairAnswerParams; request: PairAnswerParams; result: Nothing }
  'pair.stop': { params: Nothing; request: Nothing; result: Nothing }
}

export const bleMethodScopes: Readonly<Record<keyof BleMethods, 'status' | 'admin'>> = {
  'ble.status': 'status', 'ble.nearby': 'status', 'ble.power': 'admin', 'pair.start': 'admin', 'pair.status': 'admin', 'pair.answer': 'admin', 'pair.stop': 'admin',
}
