/** What is told of Bluetooth, for people. Pure, so that tests can hold it to fixed words. */
import type { BleNearbyResult, BlePowerResult, BleStatusResult, StatusResult } from '../client/client.ts'
import { ago, percentText, safeLine, table } from './text.ts'

/** What is known of a link's radio: `−61 dBm (in range)`, `values of 507 bytes`, `a turn every 15 ms`. */
export function radioText({ rssi, mtu, intervalMs }: { readonly rssi?: number; readonly mtu?: number; readonly intervalMs?: number }): string[] {
  return [
    ...(rssi === undefined ? [] : [`${rssi} dBm (${strength(rssi)})`]), ...(mtu === undefined ? [] : [`MTU ${mtu}`]), ...(intervalMs === undefined ? [] : [`a turn every ${intervalMs} ms`]),
  ]
}

/** What people can do with a number of dBm: a phone in the same room is at −60, one behind two walls at −90. */
export function strength(rssi: number): string {
  return rssi >= -60 ? 'near' : rssi >= -80 ? 'in range' : 'far'
}

export function summaryText(ble: NonNullable<StatusResult['ble']>): string {
  if (ble.state !== 'on') return safeLine(ble.reason)
  return `${ble.mode}: ${counted(ble.friendsInRange, 'friend')} in range, ${counted(ble.links, 'link')}`
}

export function bleStatusText(status: BleStatusResult): string {
  const { state, reason, backend, mode, searching, advertising, scanning, inRange, friendsInRange, links } = status
  if (state !== 'on') return safeLine(reason)
  const carried = links.map((link) => [
    `  ${link.address}`, safeLine(link.name ?? link.peer?.slice(0, 12) ?? 'nobody yet'), { active: 'carries the traffic', standby: 'ready', stranger: 'not authenticated yet' }[link.use],
    link.dialed ? 'dialed here' : 'dialed there', radioText(link).join(', '),
  ])
  return [
    safeLine(reason),
    table([
      ['backend', backend ?? 'none'], ['power', `${mode}${searching ? ', looking hard just now' : ''} (what that costs: postern ble power)`],
      ['now', [advertising ? 'shows itself' : 'does not show itself', scanning ? 'listens' : 'rests'].join(', ')],
      ['in range', `${counted(friendsInRange, 'friend')}, ${inRange} in all`], ['links', String(links.length)],
    ]),
    ...(carried.length === 0 ? [] : [table(carried)]),
  ].join('\n')
}

const controls: Readonly<Record<NonNullable<BlePowerResult['control']>, string>> = {
  exact: '', partly: 'bluetoothd keeps to how often one is shown, and to when it is to listen; how hard it listens then is its own.', none: 'macOS decides how often it shows itself and listens, whatever the mode.',
}

export function powerText({ mode, configured, searching, control, modes }: BlePowerResult): string {
  const pause = (milliseconds: number): string => milliseconds < 1000 ? `every ${milliseconds / 1000} s` : `every ${ago(milliseconds)}`
  const within = (milliseconds: number): string => milliseconds < 1000 ? 'a second' : ago(milliseconds)
  const rows = modes.map(({ mode: each, searching: hard, calm }) => [
    `${each === mode ? '*' : ' '} ${each}`, pause(calm.advertiseMs), percentText(calm.listens), within(calm.foundMs), `${pause(hard.advertiseMs)}, ${percentText(hard.listens)}, ${within(hard.foundMs)}`,
  ])
  return [
    table([['  MODE', 'SHOWS ITSELF', 'LISTENS', 'FINDS WITHIN', 'WHILE IT LOOKS HARD'], ...rows]),
    `It looks hard for half a minute after a start, a lost network, or a question such as postern nearby${searching ? ': just now it does' : ''}.`,
    ...(mode === configured ? [] : [`The daemon begins with ${configured} again when it is started; [ble] mode changes that.`]),
    ...(control === undefined ? ['No radio is driven at present: postern ble status says why.'] : controls[control] === '' ? [] : [controls[control]]),
  ].join('\n')
}

export function nearbyText({ state, reason, devices, others }: BleNearbyResult): string {
  if (state !== 'on') return safeLine(reason)
  const rest = others === 0 ? '' : `${devices.length === 0 ? '' : 'And '}${counted(others, 'machine')}${devices.length === 0 ? ' in range' : ''} with Postern ${others === 1 ? 'is' : 'are'} not paired with this one: postern pair on both.`
  if (devices.length === 0) return rest === '' ? 'Nobody is in range.' : `No friend is in range. ${rest}`
  const rows = table(devices.map(({ address, rssi, ageMs, peer, name, peerState }) => [
    safeLine(name ?? peer?.slice(0, 12) ?? 'a stranger'), `${rssi} dBm`, strength(rssi), peerState ?? '', safeLine(address), ageMs < 3000 ? 'now' : `${ago(ageMs)} ago`,
  ]))
  return rest === '' ? rows : `${rows}\n${rest}`
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
