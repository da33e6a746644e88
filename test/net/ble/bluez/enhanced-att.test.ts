import { expect, test } from 'vitest'
import { explainEnhancedAtt } from '../../../../src/net/ble/bluez/enhanced-att.ts'

const on = /Channels = 1 under \[GATT\]/

test.each<[string, string | undefined, string | undefined, boolean]>([
  ['Debian 12 as it comes', 'usb:v1D6Bp0246d0542', '[General]\nName = x\n\n[GATT]\n#Channels = 3\n', true],
  ['the first that has it', 'usb:v1D6Bp0246d0536', undefined, true],
  ['one before', 'usb:v1D6Bp0246d0535', undefined, false],
  ['one after', 'usb:v1D6Bp0246d0543', undefined, false],
  ['switched off', 'usb:v1D6Bp0246d0542', '[GATT]\nChannels = 1\n[Policy]\nAutoEnable=true\n', false],
  ['switched on', 'usb:v1D6Bp0246d054F', '[GATT]\n Channels=5\n', true],
  ['the same word in another section', 'usb:v1D6Bp0246d0542', '[LE]\nChannels = 1\n', true],
  ['a version nobody knows', undefined, undefined, false],
  ['one that says it is something else', 'bluetooth:v000Ap0001d0542', undefined, false],
  ['that, with channels', 'bluetooth:v000Ap0001d0542', '[GATT]\nChannels = 2', true],
])('%s', (_, modalias, configuration, isOn) => {
  const told = explainEnhancedAtt(modalias, configuration)
  if (isOn) expect(told).toMatch(on)
  else expect(told).toBeUndefined()
})

test('the version is named as people know it', () => {
  expect(explainEnhancedAtt('usb:v1D6Bp0246d0542', undefined)).toMatch(/^bluetoothd 5\.66 uses/)
  expect(explainEnhancedAtt(7, '[GATT]\nChannels = 3')).toMatch(/^bluetoothd uses/)
})
