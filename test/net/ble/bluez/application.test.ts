import { expect, test } from 'vitest'
import { RX_UUID, SERVICE_UUID } from '../../../../src/net/ble/backend.ts'
import { advertisementPath, applicationPath, BluezApplication, type ServiceHandler } from '../../../../src/net/ble/bluez/application.ts'
import type { BusMessage, Reply, Variant } from '../../../../src/net/ble/bluez/bus.ts'

const PROPERTIES = 'org.freedesktop.DBus.Properties'

function served(handler: Partial<ServiceHandler> = {}): {
  readonly application: BluezApplication
  readonly signals: unknown[][]
  readonly call: (path: string, interfaceName: string, member: string, ...body: unknown[]) => Reply | undefined
} {
  let answer: (message: BusMessage) => Reply | undefined = () => undefined
  const signals: unknown[][] = []
  const bus = {
    variant: (signature: string, value: unknown): Variant => ({ signature, value }),
    serve: (given: typeof answer) => {
      answer = given
    },
    signal: (...words: unknown[]) => void signals.push(words),
  }
  const application = new BluezApplication(bus, { written: () => true, unsubscribed: () => undefined, ...handler })
  return { application, signals, call: (path, interfaceName, member, ...body) => answer({ type: 1, flags: 0, path, interface: interfaceName, member, sender: ':1.0', body }) }
}

test('bluetoothd finds one service with RX and TX, and an advertisement with the service, the hint and nothing else', () => {
  const { application, call } = served()
  const objects = (call(applicationPath, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects') as unknown as { body: [Record<string, Record<string, Record<string, Variant>>>] }).body[0]
  expect(Object.keys(objects)).toEqual(['/postern/service', '/postern/service/rx', '/postern/service/tx'])
  expect(objects['/postern/service/rx']!['org.bluez.GattCharacteristic1']!['UUID']!.value).toBe(RX_UUID)
  application.setHint(Uint8Array.of(1, 2, 3, 4, 5, 6))
  const advertised = (call(advertisementPath, PROPERTIES, 'GetAll', 'org.bluez.LEAdvertisement1') as unknown as { body: [Record<string, Variant>] }).body[0]
  expect(Object.keys(advertised)).toEqual(['Type', 'ServiceUUIDs', 'Discoverable', 'ManufacturerData'])
  expect(advertised['ServiceUUIDs']!.value).toEqual([SERVICE_UUID])
  expect(call(advertisementPath, PROPERTIES, 'Get', 'org.bluez.LEAdvertisement1', 'LocalName')).toMatchObject({ error: 'org.freedesktop.DBus.Error.UnknownProperty' })
  expect(call(advertisementPath, PROPERTIES, 'GetAll', 'org.example')).toMatchObject({ error: 'org.freedesktop.DBus.Error.UnknownInterface' })
  expect(call('/elsewhere', PROPERTIES, 'GetAll', 'org.example')).toBeUndefined()
})

test('an advertisement is shown as often as it is asked to be, or as bluetoothd likes', () => {
  const { application, call } = served()
  const advertised = (): Record<string, Variant> => (call(advertisementPath, PROPERTIES, 'GetAll', 'org.bluez.LEAdvertisement1') as unknown as { body: [Record<string, Variant>] }).body[0]
  application.setInterval(1000)
  expect([advertised()['MinInterval'], advertised()['MaxInterval']]).toEqual([{ signature: 'u', value: 1000 }, { signature: 'u', value: 1000 }])
  application.setInterval(undefined)
  expect(advertised()['MinInterval']).toBeUndefined()
})

test('writes name their device; who is not served is told so', () => {
  const written: unknown[] = []
  const { application, call, signals } = served({
    written: (device, value, mtu) => {
      written.push([device, [...value], mtu])
      return device === '/a'
    },
  })
  const write = (device: unknown): Reply | undefined => call('/postern/service/rx', 'org.bluez.GattCharacteristic1', 'WriteValue', Uint8Array.of(1, 2), { device: { signature: 'o', value: device }, mtu: { signature: 'q', value: 247 } })
  expect(write('/a')).toEqual({ signature: '', body: [] })
  expect(write('/b')).toMatchObject({ error: 'org.bluez.Error.NotPermitted' })
  expect(write(7)).toMatchObject({ error: 'org.bluez.Error.NotPermitted' })
  expect(written).toEqual([['/a', [1, 2], 247], ['/b', [1, 2], 247]])
  call('/postern/service/tx', 'org.bluez.GattCharacteristic1', 'StartNotify')
  expect(application.isNotifying).toBe(true)
  application.notify(Uint8Array.of(9))
  expect(signals).toHaveLength(1)
  call('/postern/service/tx', 'org.bluez.GattCharacteristic1', 'StopNotify')
  expect(application.isNotifying).toBe(false)
})
