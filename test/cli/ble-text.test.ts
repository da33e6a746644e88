import { expect, it } from 'vitest'
import { bleStatusText, nearbyText, powerText, summaryText } from '../../src/cli/ble-text.ts'
import { powerCosts } from '../../src/daemon/ble/ble-view.ts'

it('without Bluetooth all say why, in one sentence', () => {
  const reason = 'This machine has no Bluetooth adapter (nothing in /sys/class/bluetooth).'
  expect(bleStatusText({ state: 'absent', reason, mode: 'active', searching: false, advertising: false, scanning: false, inRange: 0, friendsInRange: 0, links: [] })).toBe(reason)
  expect(nearbyText({ state: 'absent', reason, devices: [], others: 0 })).toBe(reason)
  expect(summaryText({ state: 'absent', reason, mode: 'active', friendsInRange: 0, links: 0 })).toBe(reason)
})

it('what the radio does, and each link', () => {
  const text = bleStatusText({
    state: 'on', reason: 'Bluetooth works.', backend: 'hci', mode: 'active', searching: true, advertising: true, scanning: false, inRange: 3, friendsInRange: 1,
    links: [
      { address: 'ble:c0:ff:ee:00:12:34', peer: 'kwe3db3ripiornjb', name: 'ben', dialed: true, use: 'active', rssi: -61, mtu: 513, intervalMs: 15 },
      { address: 'ble:c0:ff:ee:00:12:35', dialed: false, use: 'stranger', mtu: 23 },
    ],
  })
  expect(text.split('\n')).toEqual([
    'Bluetooth works.', 'backend   hci', 'power     active, looking hard just now (what that costs: postern ble power)', 'now       shows itself, rests', 'in range  1 friend, 3 in all', 'links     2',
    '  ble:c0:ff:ee:00:12:34  ben         carries the traffic    dialed here   -61 dBm (in range), MTU 513, a turn every 15 ms',
    '  ble:c0:ff:ee:00:12:35  nobody yet  not authenticated yet  dialed there  MTU 23',
  ])
  expect(summaryText({ state: 'on', reason: '', mode: 'saver', friendsInRange: 1, links: 2 })).toBe('saver: 1 friend in range, 2 links')
})

it('what power modes cost, which one is in force, and who keeps to it', () => {
  const text = powerText({ mode: 'saver', configured: 'active', searching: false, control: 'partly', modes: powerCosts })
  expect(text.split('\n')).toEqual([
    '  MODE        SHOWS ITSELF  LISTENS  FINDS WITHIN  WHILE IT LOOKS HARD',
    '  active      every 1 s     6.0 %    15 s          every 0.1 s, 50.0 %, a second',
    '  background  every 1 s     1.7 %    56 s          every 0.1 s, 25.0 %, 10 s',
    '* saver       every 1 s     0.3 %    4 min 57 s    every 1 s, 3.3 %, 26 s',
    'It looks hard for half a minute after a start, a lost network, or a question such as postern nearby.',
    'The daemon begins with active again when it is started; [ble] mode changes that.',
    'bluetoothd keeps to how often one is shown, and to when it is to listen; how hard it listens then is its own.',
  ])
})

it('who is in range; names cannot forge lines', () => {
  expect(nearbyText({
    state: 'on', reason: '', others: 1, devices: [
      { address: 'ble:c0:ff:ee:00:12:34', rssi: -57, ageMs: 20, peer: 'kwe3db3ripiornjb', name: 'b\nen', peerState: 'connected' }, { address: 'ble:c0:ff:ee:00:12:35', rssi: -91, ageMs: 65_000 },
    ],
  }).split('\n')).toEqual([
    'b\\u000aen   -57 dBm  near  connected  ble:c0:ff:ee:00:12:34  now', 'a stranger  -91 dBm  far              ble:c0:ff:ee:00:12:35  1 min 5 s ago',
    'And 1 machine with Postern is not paired with this one: postern pair on both.',
  ])
  expect(nearbyText({ state: 'on', reason: '', devices: [], others: 2 })).toBe('No friend is in range. 2 machines in range with Postern are not paired with this one: postern pair on both.')
  expect(nearbyText({ state: 'on', reason: '', devices: [], others: 0 })).toBe('Nobody is in range.')
})
