/** What the daemon tells of Bluetooth: the answers to `ble.status` and `ble.nearby`. */
import type { PeerState } from '../base/domain.ts'
import type { Nothing } from './ipc-json.ts'

/**
 * on: ready · off: present but powered down · absent: none in this machine, or none that works · no_permission: this user may not · blocked: rfkill ·
 * resetting: comes back by itself · busy: another program has it · disabled: by configuration
 */
export const bleStates = ['on', 'off', 'absent', 'no_permission', 'blocked', 'resetting', 'busy', 'disabled'] as const
export type BleState = (typeof bleStates)[number]

/** What `status` has of it. */
export interface IpcBleHealth {
  readonly state: BleState
  /** Why it is so, as one sentence for people. */
  readonly reason: string
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
}

export interface BleStatusResult extends IpcBleHealth {
  /** What drives the radio; absent where nothing does. */
  readonly backend?: string
  /** How much is spent on finding and being found: active, background, saver. */
  readonly mode: string
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

/** The methods about Bluetooth: what a client writes, what the daemon's handler sees, what comes back. */
export interface BleMethods {
  'ble.status': { params: Nothing; request: Nothing; result: BleStatusResult }
  'ble.nearby': { params: Nothing; request: Nothing; result: BleNearbyResult }
  'pair.start': { params: PairStartParams; request: Required<PairStartParams>; result: PairStatusResult }
  'pair.status': { params: Nothing; request: Nothing; result: PairStatusResult }
  'pair.answer': { params: PairAnswerParams; request: PairAnswerParams; result: Nothing }
  'pair.stop': { params: Nothing; request: Nothing; result: Nothing }
}

export const bleMethodScopes: Readonly<Record<keyof BleMethods, 'status' | 'admin'>> = {
  'ble.status': 'status', 'ble.nearby': 'status', 'pair.start': 'admin', 'pair.status': 'admin', 'pair.answer': 'admin', 'pair.stop': 'admin',
}
