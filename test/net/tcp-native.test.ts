import { readdirSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { encodeAddress, portOf } from '../../src/core/base/address.ts'
import { nativeTcpSystem } from '../../src/net/tcp-native.ts'
import { tcpSystem } from '../../src/net/tcp-system.ts'
import type { TcpOptions } from '../../src/net/tcp.ts'
import { addon } from '../support/addon.ts'
import { link, openNode, pattern, TcpNode, usual } from './tcp-support.ts'
import { hasIPv6, turn, until } from './udp-support.ts'

const tcp = addon?.tcp
const closers: (() => Promise<void>)[] = []

async function open(options: Partial<TcpOptions> = {}): Promise<TcpNode> {
  const node = await openNode({ system: nativeTcpSystem(tcp!), ...options })
  closers.push(() => node.close())
  return node
}

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

async function listen(port: number): Promise<Server> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => void server.once('error', reject).listen(port, '127.0.0.1', resolve))
  return server
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()))
}

describe.skipIf(tcp === undefined)('TCP sockets of the addon', () => {
  it('dial from the port that is listened on, whose listener goes on', async () => {
    const [a, b, c] = [await open(), await open(), await open()]
    const first = await link(a, b)
    await link(a, c)
    expect([b, c].map((node) => portOf(node.host.opens[0]!.remote!))).toEqual([a.driver.port, a.driver.port])
    expect(portOf(a.host.opens[0]!.local)).toBe(a.driver.port)
    expect(a.stat('tcp_local_port_refused')).toBe(0)
    await link(c, a, 2)
    a.add(first.a, pattern(300, 1))
    await a.send()
    await until(() => b.host.count === 1)
  })

  it('dial from any port when nothing listens, and when a port is wished for, from that', async () => {
    const [mute, peer] = [await open({ bind: [] }), await open()]
    await link(mute, peer)
    expect(portOf(peer.host.opens[0]!.remote!)).toBe(portOf(mute.host.opens[0]!.local))
    expect(mute.system.connects[0]).not.toHaveProperty('localPort')
  })

  it('dial from another port when there is a connection between the two already', async () => {
    const [a, b] = [await open(), await open()]
    await link(a, b)
    await link(a, b, 2)
    expect(portOf(b.host.opens[1]!.remote!)).not.toBe(a.driver.port)
    // The other side's dial meets the same connection.
    await link(b, a, 1)
    expect([a.stat('tcp_local_port_refused'), b.stat('tcp_local_port_refused')]).toEqual([1, 1])
    expect([a.host.dialFailures, b.host.dialFailures]).toEqual([[], []])
  })

  it.skipIf(!hasIPv6)('dial by IPv4 and IPv6 from the port of a listener of both', async () => {
    const dual = await open({ bind: ['::'] })
    const [four, six] = [await open(), await open({ bind: ['::1'] })]
    dual.driver.dial(four.address, 1)
    const address = six.address.slice()
    address.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    dual.driver.dial(address, 2)
    await until(() => four.host.opens.length === 1 && six.host.opens.length === 1)
    expect([four, six].map((node) => portOf(node.host.opens[0]!.remote!))).toEqual([dual.driver.port, dual.driver.port])
  })

  it('listen on a port alone: nobody gets in beside them, and they not beside others', async () => {
    const node = await open()
    const taken = { code: 'port_in_use', cause: { code: 'EADDRINUSE' } }
    await expect(new TcpNode({ system: nativeTcpSystem(tcp!), port: node.driver.port }).driver.start()).rejects.toMatchObject(taken)
    await expect(new TcpNode({ system: tcpSystem, port: node.driver.port }).driver.start()).rejects.toMatchObject(taken)
    const other = await listen(0)
    const { port } = other.address() as AddressInfo
    await expect(new TcpNode({ system: nativeTcpSystem(tcp!), port }).driver.start()).rejects.toMatchObject(taken)
    await close(other)
  })

  it('leave no descriptor behind: dials that are refused, cancelled, from a port of somebody else', async () => {
    const node = await open()
    const peer = await open()
    const other = await listen(0)
    const { port } = other.address() as AddressInfo
    const nobody = encodeAddress('127.0.0.1', 1)!
    const settled = (): Promise<void> => until(() => node.alive === 0)
    const round = async (token: number): Promise<void> => {
      node.driver.dial(nobody, token)
      node.driver.dial(nobody, token + 1, { localPort: port })
      node.driver.dial(peer.address, token + 2)
      node.driver.cancelDial(token + 2)
      await settled()
    }
    await round(0)
    await turn()
    const before = readdirSync('/proc/self/fd').length
    for (let i = 1; i <= 50; i++) await round(3 * i)
    await turn()
    expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before + 3)
    expect(node.host.dialFailures).toHaveLength(3 * 51)
    await close(other)
  })

  it('take a connection of a stranger, too', async () => {
    const node = await open()
    const socket = connect(node.driver.port, '127.0.0.1')
    await until(() => node.stat('tcp_accepted') === 1)
    socket.destroy()
  })

  it('are refused any arguments but addresses, families and modes', () => {
    const address = encodeAddress('127.0.0.1', 0)!
    for (const args of [[], [address], [address, 4, 0], [address.slice(1), 4, 0, 0], [address, 7, 0, 0], [address, 4, 0, 2], [null, 4, 0, 0], [address, 4, 2, 0]]) {
      expect(() => (tcp!.tcpBind as (...given: unknown[]) => number)(...args)).toThrow(TypeError)
    }
    expect(() => tcp!.tcpBind(encodeAddress('198.51.100.9', 0)!, 4, 0, 0)).toThrow(expect.objectContaining({ code: 'EADDRNOTAVAIL' }))
  })
})

// Everything that holds for sockets of node:net holds for these.
if (tcp !== undefined) {
  usual.system = nativeTcpSystem(tcp)
  await import('./tcp.test.ts')
  await import('./tcp-dial.test.ts')
  await import('./tcp-limits.test.ts')
  await import('./tcp-faults.test.ts')
}
