import { setInterval, setTimeout as sleep } from 'node:timers/promises'
import type { BleNearbyResult, BleStatusResult } from '../client/client.ts'
import { parseInterval } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { interruption, withClient } from './session.ts'
import { ago, safeLine, table } from './text.ts'

/** Who comes into range is heard within a second of a daemon that looks hard. */
const FIRST_LOOK_MS = 1500

export interface NearbyOptions {
  readonly watch?: true
  readonly interval?: string
}

/** Whether this node has Bluetooth, why not, and what it is doing with it. */
export async function bleStatus(globals: Globals, output: Output): Promise<void> {
  const status = await withClient(globals, (client) => client.bleStatus())
  output.result('ble-status', status, () => bleStatusText(status))
}

export function bleStatusText({ state, reason, backend, mode, advertising, scanning, inRange, friendsInRange, links }: BleStatusResult): string {
  if (state !== 'on') return safeLine(reason)
  const carried = links.map(({ address, peer, name, dialed, use }) => [
    '  link', address, safeLine(name ?? peer?.slice(0, 12) ?? 'nobody yet'), dialed ? 'dialed here' : 'dialed there', { active: 'carries the traffic', standby: 'ready', stranger: 'not authenticated yet' }[use],
  ])
  return [
    safeLine(reason),
    table([
      ['backend', backend ?? 'none'], ['power', mode],
      ['now', [advertising ? 'shows itself' : 'does not show itself', scanning ? 'listens' : 'rests'].join(', ')],
      ['in range', `${friendsInRange} friend${friendsInRange === 1 ? '' : 's'}, ${inRange} in all`], ['links', String(links.length)],
    ]),
    ...(carried.length === 0 ? [] : [table(carried)]),
  ].join('\n')
}

/** Who is in range, once or again and again. */
export async function nearby(globals: Globals, options: NearbyOptions, output: Output): Promise<void> {
  const intervalMs = parseInterval(options.interval ?? '1', '--interval')
  const stop = interruption()
  await withClient(globals, async (client) => {
    let found = await client.nearby()
    if (found.devices.length === 0 && found.state === 'on') {
      output.progress('listening …')
      await sleep(FIRST_LOOK_MS, undefined, { signal: stop }).catch(() => undefined)
      found = await client.nearby()
    }
    show(found, output)
    if (options.watch !== true) return
    for await (const _ of setInterval(intervalMs, undefined, { signal: stop })) show(await client.nearby(), output)
  }).catch((error: unknown) => {
    if (!stop.aborted) throw error
  })
}

function show(found: BleNearbyResult, output: Output): void {
  output.result('nearby', found, () => nearbyText(found))
}

export function nearbyText({ state, reason, devices }: BleNearbyResult): string {
  if (state !== 'on') return safeLine(reason)
  if (devices.length === 0) return 'Nobody is in range.'
  return table(devices.map(({ address, rssi, ageMs, peer, name, peerState }) => [
    safeLine(name ?? peer?.slice(0, 12) ?? 'a stranger'), `${rssi} dBm`, strength(rssi), peerState ?? '', safeLine(address), ageMs < 3000 ? 'now' : `${ago(ageMs)} ago`,
  ]))
}

/** What people can do with a number of dBm: a phone in the same room is at −60, one behind two walls at −90. */
function strength(rssi: number): string {
  return rssi >= -60 ? 'near' : rssi >= -80 ? 'in range' : 'far'
}
