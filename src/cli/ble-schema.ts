import { z } from 'zod'
import { powerModes } from '../core/base/power-mode.ts'
import { blePowerControls, bleStates, type BleDevice, type BleLinkInfo, type BleNearbyResult, type BleStatusResult, type BleDutyCost, type BlePowerResult, type IpcBleSummary } from '../core/wire/ipc/ipc-ble.ts'
import { ipcPeerStates } from '../core/wire/ipc/ipc-methods.ts'
import type { PairResult } from './results.ts'
import { count, milliseconds, object, peerId, share } from './schema-parts.ts'

const state = z.enum(bleStates).describe('on: ready; off: powered down; absent: none that works; no_permission; blocked: rfkill; resetting: comes back by itself; busy: another program has it; disabled: by configuration')
const mode = z.enum(powerModes).describe('How much the radio is used')
const reason = z.string().describe('Why it is so, as one sentence for people')

export const bleSummarySchema: z.ZodType<IpcBleSummary> = object<IpcBleSummary>({ state, reason, mode, friendsInRange: count, links: count })

export const bleStatusSchema: z.ZodType<BleStatusResult> = object<BleStatusResult>({
  state, reason, backend: z.string().optional().describe('What drives the radio; absent where nothing does'), mode, searching: z.boolean().describe('It looks hard just now: for half a minute after somebody looks, or the network is lost'),
  advertising: z.boolean(), scanning: z.boolean(),
  inRange: count.describe('Devices with the service that were heard lately'), friendsInRange: count,
  links: z.array(object<BleLinkInfo>({
    address: z.string(), peer: peerId.optional(), name: z.string().optional(), dialed: z.boolean().describe('This side dialed it'),
    use: z.enum(['active', 'standby', 'stranger']).describe('active: it carries the traffic; standby: another path does; stranger: nobody was authenticated on it yet'),
    rssi: z.int().optional().describe('dBm, of the advertisements of the other, if heard lately'), mtu: count.optional().describe('ATT MTU, bytes'), intervalMs: milliseconds.optional().describe('From one connection event to the next, when the link was opened'),
  })),
})

export const nearbySchema: z.ZodType<BleNearbyResult> = object<BleNearbyResult>({
  state, reason,
  devices: z.array(object<BleDevice>({
    address: z.string(), rssi: z.int().describe('dBm'), ageMs: milliseconds.describe('Since it was heard'), peer: peerId.optional().describe('Whose hint it shows, which proves nothing yet; absent: a stranger'),
    name: z.string().optional(), peerState: z.enum(ipcPeerStates).optional(),
  })).describe('Friends, then strangers where [ble] strangers allows it; the strongest first'),
  others: count.describe('Devices in range that are not listed: strangers, where [ble] strangers is false'),
})

const cost: z.ZodType<BleDutyCost> = object<BleDutyCost>({
  advertiseMs: milliseconds.describe('From one advertisement to the next'), listens: share.describe('Of the time, that the receiver is on'), foundMs: milliseconds.describe('Who comes into range, and shows itself as often, is found within'),
})

export const blePowerSchema: z.ZodType<BlePowerResult> = object<BlePowerResult>({
  mode: mode.describe('In force'), configured: mode.describe('[ble] mode: what the daemon begins with'), searching: z.boolean(),
  control: z.enum(blePowerControls).optional().describe('How far the backend keeps to it. exact; partly: the system decides how hard it listens while it does; none: the system decides all of it'),
  modes: z.array(object<BlePowerResult['modes'][number]>({ mode, searching: cost.describe('For half a minute after somebody looks, or the network is lost'), calm: cost })),
})

type Compare = Extract<PairResult, { kind: 'compare' }>
type Paired = Extract<PairResult, { kind: 'paired' }>

export const pairSchema: z.ZodType<PairResult> = z.union([
  object<Compare>({ kind: z.literal('compare'), peer: peerId, code: z.string().regex(/^\d{8}$/).describe('The same on both machines if nobody stands between') }).describe('Answer with a line on standard input: "yes" while it is the only one there has been, else the number of this line (1, 2, …); or "no"'),
  object<Paired>({ kind: z.literal('paired'), peer: peerId, name: z.string().optional() }).describe('Both said yes: the peer is in the roster'),
])
