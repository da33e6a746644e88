import { z } from 'zod'
import { bleStates, type BleDevice, type BleLinkInfo, type BleNearbyResult, type BleStatusResult, type IpcBleHealth } from '../core/wire/ipc-ble.ts'
import { ipcPeerStates } from '../core/wire/ipc-methods.ts'
import type { PairResult } from './results.ts'
import { count, milliseconds, object, peerId } from './schema-parts.ts'

const state = z.enum(bleStates).describe('on: ready; off: powered down; absent: none that works; no_permission; blocked: rfkill; resetting: comes back by itself; busy: another program has it; disabled: by configuration')
const reason = z.string().describe('Why it is so, as one sentence for people')

export const bleHealthSchema: z.ZodType<IpcBleHealth> = object<IpcBleHealth>({ state, reason })

export const bleStatusSchema: z.ZodType<BleStatusResult> = object<BleStatusResult>({
  state, reason, backend: z.string().optional().describe('What drives the radio; absent where nothing does'), mode: z.string().describe('[ble] mode: active, background, saver'),
  advertising: z.boolean(), scanning: z.boolean(),
  inRange: count.describe('Devices with the service that were heard lately'), friendsInRange: count,
  links: z.array(object<BleLinkInfo>({
    address: z.string(), peer: peerId.optional(), name: z.string().optional(), dialed: z.boolean().describe('This side dialed it'),
    use: z.enum(['active', 'standby', 'stranger']).describe('active: it carries the traffic; standby: another path does; stranger: nobody was authenticated on it yet'),
  })),
})

export const nearbySchema: z.ZodType<BleNearbyResult> = object<BleNearbyResult>({
  state, reason,
  devices: z.array(object<BleDevice>({
    address: z.string(), rssi: z.int().describe('dBm'), ageMs: milliseconds.describe('Since it was heard'), peer: peerId.optional().describe('Whose hint it shows, which proves nothing yet; absent: a stranger'),
    name: z.string().optional(), peerState: z.enum(ipcPeerStates).optional(),
  })).describe('Friends, then strangers where [ble] strangers allows it; the strongest first'),
})

type Compare = Extract<PairResult, { kind: 'compare' }>
type Paired = Extract<PairResult, { kind: 'paired' }>

export const pairSchema: z.ZodType<PairResult> = z.union([
  object<Compare>({ kind: z.literal('compare'), peer: peerId, code: z.string().regex(/^\d{8}$/).describe('The same on both machines if nobody stands between') }).describe('Answer with a line on standard input: "yes" while it is the only one there has been, else the number of this line (1, 2, …); or "no"'),
  object<Paired>({ kind: z.literal('paired'), peer: peerId, name: z.string().optional() }).describe('Both said yes: the peer is in the roster'),
])
