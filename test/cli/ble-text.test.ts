import { expect, it } from 'vitest'
import { bleStatusText, nearbyText } from '../../src/cli/ble-commands.ts'

it('without Bluetooth both say why, in one sentence', () => {
  const reason = 'This machine has no Bluetooth adapter (nothing in /sys/class/bluetooth).'
  expect(bleStatusText({ state: 'absent', reason, mode: 'active', advertising: false, scanning: false, inRange: 0, friendsInRange: 0, links: [] })).toBe(reason)
  expect(nearbyText({ state: 'absent', reason, devices: [] })).toBe(reason)
})

it('what the radio does, and each link', () => {
  const text = bleStatusText({
    state: 'on', reason: 'Bluetooth works.', backend: 'bluez', mode: 'active', advertising: true, scanning: false, inRange: 3, friendsInRange: 1,
    links: [{ address: 'ble:c0:ff:ee:00:12:34', peer: 'kwe3db3ripiornjb', name: 'ben', dialed: true, use: 'active' }, { address: 'ble:c0:ff:ee:00:12:35', dialed: false, use: 'stranger' }],
  })
  expect(text.split('\n')).toEqual([
    'Bluetooth works.', 'backend   bluez', 'power     active', 'now       shows itself, rests', 'in range  1 friend, 3 in all', 'links     2',
    '  link  ble:c0:ff:ee:00:12:34  ben         dialed here   carries the traffic', '  link  ble:c0:ff:ee:00:12:35  nobody yet  dialed there  not authenticated yet',
  ])
})

it('who is in range; names cannot forge lines', () => {
  expect(nearbyText({
    state: 'on', reason: '', devices: [
      { address: 'c0:ff:ee:00:12:34', rssi: -57, ageMs: 20, peer: 'kwe3db3ripiornjb', name: 'b\nen', peerState: 'connected' }, { address: 'c0:ff:ee:00:12:35', rssi: -91, ageMs: 65_000 },
    ],
  }).split('\n')).toEqual([
    'b\\u000aen   -57 dBm  near  connected  c0:ff:ee:00:12:34  now', 'a stranger  -91 dBm  far              c0:ff:ee:00:12:35  1 min 5 s ago',
  ])
  expect(nearbyText({ state: 'on', reason: '', devices: [] })).toBe('Nobody is in range.')
})
