import { createServer, type AddressInfo, type NetConnectOpts, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress, portOf } from '../../src/core/base/address.ts'
import { AssertionError } from '../../src/core/base/assert.ts'
import type { LinkId } from '../../src/core/endpoint/contract.ts'
import type { TcpOptions } from '../../src/net/tcp.ts'
import { deadSocket, failingSocket, openNode, pattern, PREFACE, rawListen, type TcpNode } from './tcp-support.ts'
import { turn, until } from './udp-support.ts'

const closers: (() => Promise<void>)[] = []
const somewhere = encodeAddress('192.0.2.1', 7000)!

async function open(options: Partial<TcpOptions> = {}): Promise<TcpNode> {
  const node = await openNode(options)
  closers.push(() => node.close())
  return node
}

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

/** A port on which nothing listens. */
async function unusedPort(): Promise<number> {
  const server: Server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((resolve) => void server.close(() => resolve()))
  return port
}

function answers(node: TcpNode): (readonly [number, string])[] {
  return node.host.dialFailures.map(({ token, cause }) => [token, cause.code] as const)
}

describe('a dial that fails', () => {
  it('refused: the system says so at once', async () => {
    const node = await open()
    const port = await unusedPort()
    expect(node.driver.dial(encodeAddress('127.0.0.1', port)!, 5)).toBe('dialing')
    await until(() => node.host.dialFailures.length === 1)
    expect(answers(node)).toEqual([[5, 'refused']])
    expect(node.host.dialFailures[0]!.cause).toMatchObject({ cause: { code: 'ECONNREFUSED' }, details: { address: `127.0.0.1:${port}`, reason: 'refused' } })
    expect(node.alive).toBe(0)
    expect(node.host.opens).toEqual([])
  })

  it.each([
    ['ECONNREFUSED', 'refused'], ['ETIMEDOUT', 'timeout'], ['EHOSTUNREACH', 'unreachable'], ['ENETUNREACH', 'unreachable'], ['ENETDOWN', 'unreachable'],
    ['EADDRNOTAVAIL', 'unreachable'], ['EACCES', 'unreachable'], ['EINVAL', 'unreachable'], ['ECONNRESET', 'disconnected'], ['EMFILE', 'limit'], ['ENOBUFS', 'limit'], ['EWEIRD', 'disconnected'],
  ])('%s is told as %s, with its cause', async (code, expected) => {
    const node = await open()
    // What may be about the port that was dialed from is tried again from another, where ports are shared.
    for (let i = 0; i < 2; i++) node.system.nextSockets.push(() => failingSocket(code))
    node.driver.dial(somewhere, 9)
    await until(() => node.host.dialFailures.length === 1)
    expect(answers(node)).toEqual([[9, expected]])
    expect(node.host.dialFailures[0]!.cause.cause).toMatchObject({ code })
    expect(node.host.dialFailures[0]!.cause.message).toContain(code)
    expect(node.stat('tcp_dials_failed')).toBe(1)
  })

  it('unanswered: after the attempt timeout, and never again', async () => {
    const node = await open()
    node.system.nextSockets.push(deadSocket)
    node.driver.dial(somewhere, 1)
    await node.system.advance(4_999)
    expect(answers(node)).toEqual([])
    await node.system.advance(1)
    expect(answers(node)).toEqual([[1, 'timeout']])
    await node.system.advance(60_000)
    expect(answers(node)).toHaveLength(1)
    expect(node.alive).toBe(0)
    expect(node.stat('tcp_end_connect_timeout')).toBe(1)
  })

  it('cancelled: before it connects, while it waits for the preface, and too late', async () => {
    const node = await open()
    node.system.nextSockets.push(deadSocket)
    node.driver.dial(somewhere, 1)
    node.quietly((driver) => driver.cancelDial(1))
    node.driver.cancelDial(1)
    node.driver.cancelDial(77)
    expect(answers(node)).toEqual([])
    await turn()
    expect(answers(node)).toEqual([[1, 'aborted']])

    const server = await rawListen()
    closers.push(() => server.close())
    node.driver.dial(server.address, 2)
    await until(() => server.accepted[0]?.received.length === 4)
    node.driver.cancelDial(2)
    await until(() => answers(node).length === 2)
    expect(answers(node)[1]).toEqual([2, 'aborted'])
    await until(() => server.accepted[0]!.closed)

    node.driver.dial(server.address, 3)
    await until(() => server.accepted.length === 2)
    await server.accepted[1]!.write(PREFACE)
    await until(() => node.host.opens.length === 1)
    node.driver.cancelDial(3)
    await turn()
    expect(answers(node)).toHaveLength(2)
    expect(node.host.changes).toEqual([])
    // The token is free for another dial.
    node.system.nextSockets.push(deadSocket)
    expect(node.driver.dial(somewhere, 3)).toBe('dialing')
    expect(() => node.driver.dial(somewhere, 3)).toThrow(AssertionError)
  })

  it('called off because the driver closes, each answered once', async () => {
    const node = await openNode()
    for (let token = 0; token < 5; token++) {
      node.system.nextSockets.push(deadSocket)
      node.driver.dial(somewhere, token)
    }
    await node.close()
    expect(answers(node)).toEqual([0, 1, 2, 3, 4].map((token) => [token, 'closed']))
    expect(node.driver.dial(somewhere, 9)).toBe('closed')
    expect(node.alive).toBe(0)
  })

  it('led back to itself, as the system may do on one machine', async () => {
    const node = await open()
    const port = await unusedPort()
    node.driver.dial(encodeAddress('127.0.0.1', port)!, 1, { localPort: port })
    await until(() => node.host.dialFailures.length === 1)
    expect(answers(node)).toEqual([[1, 'refused']])
    expect(node.stat('tcp_end_own_address')).toBe(1)
  })
})

describe('how many', () => {
  it('dials and dialed links that are not confirmed are bounded together', async () => {
    const node = await open({ limits: { dialsMax: 3 } })
    const server = await rawListen()
    closers.push(() => server.close())
    for (const token of [1, 2, 3]) expect(node.driver.dial(server.address, token)).toBe('dialing')
    expect(node.driver.dial(server.address, 4)).toBe('full')
    await until(() => server.accepted.length === 3)
    for (const raw of server.accepted) await raw.write(PREFACE)
    await until(() => node.host.opens.length === 3)
    expect(node.driver.dial(server.address, 4)).toBe('full')
    node.driver.confirm(1 as LinkId)
    expect(node.driver.dial(server.address, 4)).toBe('dialing')
    expect(node.driver.dial(server.address, 5)).toBe('full')
    node.driver.cancelDial(4)
    expect(node.driver.dial(server.address, 5)).toBe('dialing')
    node.driver.closeLink(2 as LinkId)
    await node.system.advance(1_000)
    expect(node.driver.dial(server.address, 6)).toBe('dialing')
    expect(node.stat('tcp_dials_refused')).toBe(3)
    expect(node.driver.dial(server.address, 7)).toBe('full')
  })

  it('many at once, some of which fail, are each answered once', async () => {
    const node = await open({ limits: { dialsMax: 100 } })
    const peer = await open({ limits: { unconfirmedMax: 200, unconfirmedPrefixMax: 200 } })
    const port = await unusedPort()
    for (let token = 0; token < 100; token++) node.driver.dial(token % 3 === 0 ? encodeAddress('127.0.0.1', port)! : peer.address, token)
    await until(() => node.host.opens.length + node.host.dialFailures.length === 100)
    expect(new Set([...node.host.tokens, ...node.host.dialFailures.map(({ token }) => token)]).size).toBe(100)
    expect(answers(node).every(([token, code]) => token % 3 === 0 && code === 'refused')).toBe(true)
    expect(node.host.opens.every(({ dialed }) => dialed === true)).toBe(true)
  })
})

describe('how it asks', () => {
  it('for literals, without Nagle, without keep-alive, without a second family', async () => {
    const node = await open()
    for (const host of ['192.0.2.7', '2001:db8::7']) {
      node.system.nextSockets.push(deadSocket)
      node.driver.dial(encodeAddress(host, 4242)!, portOf(somewhere) + node.system.connects.length)
    }
    const from = node.system.sharesPort ? { localPort: node.driver.port } : {}
    expect(node.system.connects).toEqual(['192.0.2.7', '2001:db8::7'].map((host): NetConnectOpts => ({ host, port: 4242, noDelay: true, allowHalfOpen: true, autoSelectFamily: false, ...from })))
  })

  it('keeps its own copy of the address', async () => {
    const [node, peer] = [await open(), await open()]
    const address = peer.address.slice()
    node.driver.dial(address, 1)
    address.fill(0)
    await until(() => node.host.opens.length === 1)
    expect(formatAddress(node.host.opens[0]!.remote!)).toBe(`127.0.0.1:${peer.driver.port}`)
  })

  it('from the port wished for where the system grants it, from another where it does not', async () => {
    const [node, peer] = [await open(), await open()]
    const port = await unusedPort()
    node.driver.dial(peer.address, 1, { localPort: port })
    await until(() => node.host.opens.length === 1 && peer.host.opens.length === 1)
    expect(portOf(peer.host.opens[0]!.remote!)).toBe(port)
    // Our own listener has this one, and Node cannot share it; with the addon, the connection between these two ports is in the way.
    node.driver.dial(peer.address, 2, { localPort: node.system.sharesPort ? port : node.driver.port })
    await until(() => node.host.opens.length === 2 && peer.host.opens.length === 2)
    expect([node.driver.port, port]).not.toContain(portOf(peer.host.opens[1]!.remote!))
    expect(node.host.tokens).toEqual([1, 2])
    expect(node.host.dialFailures).toEqual([])
    expect(node.stat('tcp_local_port_refused')).toBe(1)
    node.add(2, pattern(100, 1))
    await node.send()
    await until(() => peer.host.count === 1)
  })
})
