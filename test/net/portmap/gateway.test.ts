import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../../src/core/base/address.ts'
import { readGateway, routeOfMacOs, routeOfProc } from '../../../src/net/portmap/gateway.ts'

describe('the default gateway', () => {
  const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n'
  const row = (device: string, destination: string, gateway: string, flags: string, metric: number, mask: string): string => `${device}\t${destination}\t${gateway}\t${flags}\t0\t0\t${metric}\t${mask}\t0\t0\t0\n`
  const lan = row('eth0', '0001A8C0', '00000000', '0001', 100, '00FFFFFF')

  it.each([
    ['one', head + row('eth0', '00000000', '0101A8C0', '0003', 100, '00000000') + lan, { gateway: '192.168.1.1', device: 'eth0' }],
    ['the lowest metric', head + row('wlan0', '00000000', '0102A8C0', '0003', 600, '00000000') + row('eth0', '00000000', '0101A8C0', '0003', 100, '00000000'), { gateway: '192.168.1.1', device: 'eth0' }],
    ['a tunnel before it', head + row('wg0', '00000000', '00000000', '0001', 50, '00000000') + row('eth0', '00000000', '0101A8C0', '0003', 100, '00000000'), undefined],
    ['one that is down', head + row('eth0', '00000000', '0101A8C0', '0002', 100, '00000000'), undefined],
    ['none', head + lan, undefined], ['half of everything', head + row('tun0', '00000000', '0101A8C0', '0003', 0, '00000080'), undefined], ['nothing', '', undefined], ['nonsense', `${head}x\ny z\n`, undefined],
  ] as const)('of Linux: %s', (_, text, expected) => {
    expect(routeOfProc(text)).toEqual(expected)
  })

  it('of macOS, as its manual has it', () => {
    expect(routeOfMacOs('   route to: default\ndestination: default\n       mask: default\n    gateway: 192.168.1.1\n  interface: en0\n      flags: <UP,GATEWAY,DONE,STATIC,PRCLONING>\n')).toEqual({ gateway: '192.168.1.1', device: 'en0' })
    expect(routeOfMacOs('route: writing to routing socket: not in table\n')).toBeUndefined()
    expect(routeOfMacOs('    gateway: fe80::1%en0\n  interface: en0\n')).toBeUndefined()
  })

  it('our own address is the one in its network, else the first', async () => {
    const address = (literal: string, netmask = '255.255.255.0'): never => ({ address: literal, netmask, family: 'IPv4', internal: false, mac: '', cidr: null }) as never
    const text = head + row('eth0', '00000000', '0101A8C0', '0003', 100, '00000000')
    const read = async (addresses: never[]): Promise<string | undefined> => {
      const found = await readGateway({ platform: 'linux', routes: () => Promise.resolve(text), interfaces: () => ({ eth0: addresses, other: [address('192.168.1.99')] }) })
      return found === undefined ? undefined : `${formatAddress(found.router)} ${formatAddress(found.local)}`
    }
    expect(await read([address('10.0.0.5'), address('192.168.1.7')])).toBe('192.168.1.1:0 192.168.1.7:0')
    expect(await read([address('10.0.0.5')])).toBe('192.168.1.1:0 10.0.0.5:0')
    expect(await read([])).toBeUndefined()
    expect(await readGateway({ platform: 'linux', routes: () => Promise.reject(new Error('none')), interfaces: () => ({}) })).toBeUndefined()
  })
})
