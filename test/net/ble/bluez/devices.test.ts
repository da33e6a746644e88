import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SERVICE_UUID } from '../../../../src/net/ble/backend.ts'
import type { Properties } from '../../../../src/net/ble/bluez/bus.ts'
import { addressOfPath, BluezDevices } from '../../../../src/net/ble/bluez/devices.ts'

const v = (value: unknown): { readonly signature: string; readonly value: unknown } => ({ signature: '?', value })
const path = '/org/bluez/hci0/dev_AA_BB_CC_00_11_22'

test('a device is heard with the service and a signal, and has the hint of its advertisement', () => {
  const devices = new BluezDevices()
  expect(devices.update(path, { RSSI: v(-60) })).toMatchObject({ isHeard: false })
  const hint = Uint8Array.of(1, 2, 3, 4, 5, 6)
  expect(devices.update(path, { RSSI: v(-61), UUIDs: v([SERVICE_UUID]), ManufacturerData: v({ 65535: v(Buffer.from(hint)) }) })).toMatchObject({ isHeard: true, device: { address: 'aa:bb:cc:00:11:22', rssi: -61, hint } })
  expect(devices.update(path, { Connected: v(true), ServicesResolved: v(true) })).toMatchObject({ isHeard: false, device: { isConnected: true, isResolved: true } })
  expect(devices.update(path, { Connected: v(false) })!.device.isResolved).toBe(false)
  // Not always told: that it is connected.
  expect(devices.update(path, { ServicesResolved: v(true) })!.device).toMatchObject({ isConnected: true, isResolved: true, isKept: false })
  expect(devices.update(path, { Connected: v(false), Trusted: v(true) })!.device).toMatchObject({ isConnected: false, isResolved: false, isKept: true })
  expect(devices.find('aa:bb:cc:00:11:22')?.path).toBe(path)
  expect(devices.update(path, { ServiceData: v({ [SERVICE_UUID]: v(Buffer.from([6, 5, 4, 3, 2, 1])) }) })!.device.hint).toEqual(Uint8Array.of(6, 5, 4, 3, 2, 1))
  expect(addressOfPath('/org/bluez/hci0')).toBeUndefined()
  expect(devices.update('/org/bluez/hci0/dev_nonsense', {})).toBeUndefined()
})

test('no more than a thousand are remembered, and properties of any shape are taken', () => {
  const devices = new BluezDevices()
  for (let i = 0; i < 3000; i++) devices.update(`/org/bluez/hci0/dev_00_00_00_00_${(i >> 8).toString(16).toUpperCase().padStart(2, '0')}_${(i & 255).toString(16).toUpperCase().padStart(2, '0')}`, {})
  expect(devices.size).toBe(1024)
  fc.assert(fc.property(fc.dictionary(fc.constantFrom('RSSI', 'UUIDs', 'Connected', 'ServicesResolved', 'ManufacturerData', 'ServiceData'), fc.anything().map(v)), (properties) => {
    expect(devices.update(path, properties as Properties)?.device.address).toBe('aa:bb:cc:00:11:22')
  }))
})
