import { expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import type { Transport } from '../../../src/core/wire/pcp.ts'
import { defaultConfig } from '../../../src/daemon/config/config.ts'
import { nodeAddresses } from '../../../src/daemon/nat/node-addresses.ts'

const config = { ...defaultConfig(), udp: { ...defaultConfig().udp, bind: ['127.0.0.1'], advertise: [{ host: '203.0.113.1', port: 7 }] } }
const address = (text: string): Uint8Array => encodeAddress(text.split(':')[0]!, Number(text.split(':')[1]))!

function told(mapped: Partial<Record<Transport, string>>, reflexive: readonly string[], more: readonly string[] = [], tcp: readonly string[] = []): string[] {
  const advertise = [...config.udp.advertise, ...more.map((host) => ({ host, port: 7 }))]
  return nodeAddresses({ ...config, udp: { ...config.udp, advertise } }, {
    udpPort: 7000, tcp: true, mapped: new Map(Object.entries(mapped).map(([transport, text]) => [transport as Transport, address(text)])), reflexive: reflexive.map(address), reflexiveTcp: tcp.map(address),
  }).map((own) => formatAddress(own))
}

it('what the router lets in comes behind our own addresses and before what servers see, each once', () => {
  expect(told({}, [])).toEqual(['203.0.113.1:7'])
  expect(told({ udp: '11.0.0.11:7000' }, ['11.0.0.12:7000'])).toEqual(['203.0.113.1:7', '11.0.0.11:7000', '11.0.0.12:7000'])
  expect(told({ udp: '11.0.0.11:7000', tcp: '11.0.0.11:7000' }, ['11.0.0.11:7000', '203.0.113.1:7'])).toEqual(['203.0.113.1:7', '11.0.0.11:7000'])
  expect(told({ udp: '11.0.0.11:7000', tcp: '11.0.0.11:7001' }, [])).toEqual(['203.0.113.1:7', '11.0.0.11:7000', '11.0.0.11:7001'])
})

it('where servers see TCP comes last, if UDP is not seen there too', () => {
  expect(told({}, ['11.0.0.12:7000'], [], ['11.0.0.12:7000'])).toEqual(['203.0.113.1:7', '11.0.0.12:7000'])
  expect(told({}, ['11.0.0.12:7000'], [], ['11.0.0.12:9000'])).toEqual(['203.0.113.1:7', '11.0.0.12:7000', '11.0.0.12:9000'])
})

it('it keeps its place when there are more addresses than an invite holds', () => {
  const many = Array.from({ length: 30 }, (_, i) => `203.0.113.${i + 2}`)
  const addresses = told({ udp: '11.0.0.11:7000' }, ['11.0.0.12:7000'], many)
  expect([addresses.length, addresses.slice(-2)]).toEqual([16, ['11.0.0.11:7000', '11.0.0.12:7000']])
})
