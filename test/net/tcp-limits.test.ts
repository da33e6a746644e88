import type { Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { encodeAddress } from '../../src/core/base/address.ts'
import type { LinkId } from '../../src/core/endpoint/contract.ts'
import { HalfOpen, prefixOf } from '../../src/net/tcp-half-open.ts'
import type { TcpOptions } from '../../src/net/tcp.ts'
import { link, openNode, pattern, PREFACE, rawDial, record, settle, type Raw, type TcpNode } from './tcp-support.ts'
import { until } from './udp-support.ts'

const closers: (() => Promise<void>)[] = []
const raws: Raw[] = []
const ONE = 1 as LinkId

async function open(options: Partial<TcpOptions> = {}): Promise<TcpNode> {
  const node = await openNode(options)
  closers.push(() => node.close())
  return node
}

async function dial(node: TcpNode, from: string): Promise<Raw> {
  const raw = await rawDial(node, from)
  raws.push(raw)
  return raw
}

afterEach(async () => {
  for (const { socket } of raws.splice(0)) socket.destroy()
  await Promise.all(closers.splice(0).map((close) => close()))
})

function gone(raw: Raw): boolean {
  return raw.closed || raw.ended
}

// Other addresses of the loopback network are there without being set up on Linux only.
const linux = process.platform === 'linux'

describe('strangers', () => {
  it.skipIf(!linux)('8 of one address: the oldest makes room, without a byte, and others are unaffected', async () => {
    const node = await open()
    const other = await dial(node, '127.0.0.2')
    const many: Raw[] = []
    for (let i = 0; i < 20; i++) many.push(await dial(node, '127.0.0.3'))
    await until(() => node.stat('tcp_end_evicted') === 12)
    await until(() => many.slice(0, 12).every(gone))
    await settle()
    expect(many.slice(12).some(gone)).toBe(false)
    expect(many.every(({ received }) => received.length === 0)).toBe(true)
    expect(node.alive).toBe(9)
    await other.write(PREFACE)
    await until(() => node.host.opens.length === 1)
    for (const raw of many.slice(12)) await raw.write(PREFACE)
    await until(() => node.host.opens.length === 9)
  })

  it.skipIf(!linux)('64 in all: the oldest of whoever has most makes room', async () => {
    const node = await open()
    const modest = await dial(node, '127.0.1.1')
    const greedy: Raw[] = []
    for (let i = 0; i < 8 * 8; i++) greedy.push(await dial(node, `127.0.2.${1 + (i % 8)}`))
    await until(() => node.stat('tcp_accepted') === 65)
    expect(node.alive).toBe(64)
    const newcomers = [await dial(node, '127.0.3.1'), await dial(node, '127.0.3.2')]
    await until(() => node.stat('tcp_accepted') === 67)
    expect(node.alive).toBe(64)
    expect(node.stat('tcp_end_evicted')).toBe(3)
    await settle()
    expect([modest, ...newcomers].some(gone)).toBe(false)
    expect(greedy.filter(gone)).toHaveLength(3)
    for (const raw of [modest, ...newcomers]) await raw.write(PREFACE)
    await until(() => node.host.opens.length === 3)
  })

  it('a link that was opened and makes room is told as failed', async () => {
    const node = await open()
    const first = await dial(node, '127.0.0.1')
    await first.write(PREFACE)
    await until(() => node.host.opens.length === 1)
    for (let i = 0; i < 8; i++) await dial(node, '127.0.0.1')
    await until(() => node.host.ends(1).length === 1)
    expect(node.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([['failed', 'limit']])
  })

  it('confirmed links count no more, and dialed ones never did', async () => {
    const [node, peer] = [await open(), await open()]
    for (let i = 0; i < 20; i++) {
      const raw = await dial(node, '127.0.0.1')
      await raw.write(PREFACE)
      await until(() => node.host.opens.length === i + 1)
      node.driver.confirm((i + 1) as LinkId)
    }
    for (let i = 0; i < 20; i++) await link(node, peer, i)
    for (let i = 0; i < 8; i++) await dial(node, '127.0.0.1')
    await until(() => node.stat('tcp_accepted') === 28)
    expect(node.stat('tcp_end_evicted')).toBe(0)
    expect(node.alive).toBe(48)
  })

  it('8 KiB before they are confirmed, then all of it, whatever its pieces', async () => {
    for (const size of [100, 1400, 8190]) {
      const node = await open()
      const raw = await dial(node, '127.0.0.1')
      const datagrams = Array.from({ length: Math.ceil(200_000 / size) }, (_, i) => pattern(size, i))
      await raw.write(PREFACE)
      void raw.write(...datagrams.map(record))
      await until(() => node.stat('tcp_unconfirmed_held') === 1)
      await settle()
      const count = Math.floor((8192 - 4) / (size + 2))
      expect(node.host.count).toBe(count)
      expect(node.host.bytesReceived).toBeLessThanOrEqual(8192)
      node.quietly((driver) => driver.confirm(ONE))
      await until(() => node.host.count === datagrams.length)
      expect(node.host.received_.every(({ bytes }, i) => Buffer.compare(bytes, datagrams[i]!) === 0)).toBe(true)
      expect(node.host.changes).toEqual([])
    }
  })

  it('8 KiB and no confirmation: the rest is never read, and the time runs out', async () => {
    const node = await open()
    const raw = await dial(node, '127.0.0.1')
    await raw.write(PREFACE)
    void raw.write(...Array.from({ length: 20_000 }, (_, i) => record(pattern(1000, i))))
    await until(() => node.stat('tcp_unconfirmed_held') === 1)
    await node.system.advance(9_999)
    await settle()
    expect(node.host.count).toBe(8)
    // What the kernels hold for both sides is far below the 20 MB that wait to be written.
    expect(raw.socket.writableLength).toBeGreaterThan(0)
    expect(node.host.ends(1)).toEqual([])
    await node.system.advance(1)
    expect(node.host.ends(1)).toEqual(['failed'])
    expect(node.stat('tcp_end_confirm_timeout')).toBe(1)
    await until(() => gone(raw))
  })

  it('that confirms from inside the batch is read on without a pause', async () => {
    const node = await open({ batchCapacity: 2 })
    node.host.onReceived = () => node.driver.confirm(ONE)
    const raw = await dial(node, '127.0.0.1')
    await raw.write(PREFACE, ...Array.from({ length: 40 }, (_, i) => record(pattern(1000, i))))
    await until(() => node.host.count === 40)
    expect(node.stat('tcp_unconfirmed_held')).toBe(0)
  })
})

describe('a flood', () => {
  it.skipIf(!linux)('thousands of connects: bounded, and an open link and newcomers from elsewhere do not suffer', async () => {
    const [node, friend] = [await open(), await open()]
    const links = await link(friend, node)
    let alivePeak = 0
    let held = 0
    const total = 2_000
    const says = [Buffer.alloc(0), PREFACE.subarray(0, 2), PREFACE, Buffer.concat([PREFACE, record(pattern(1000, 1))]), Buffer.from('GET / HTTP/1.1\r\n\r\n')]
    const before = process.memoryUsage()
    for (let i = 0; i < total; i += 100) {
      const batch = await Promise.all(Array.from({ length: 100 }, (_, n) => dial(node, `127.9.${(i + n) % 4}.${1 + ((i + n) % 5)}`)))
      for (const [n, raw] of batch.entries()) {
        const bytes = says[n % says.length]!
        if (bytes.length > 0 && !raw.socket.destroyed) raw.socket.write(bytes)
      }
      friend.add(links.a, pattern(500, i))
      await friend.send()
      alivePeak = Math.max(alivePeak, node.alive)
      if (i % 500 === 0) {
        // A newcomer at the height of it.
        const newcomer = await dial(node, `127.8.0.${1 + i / 500}`)
        const { length } = node.host.opens
        await newcomer.write(PREFACE)
        await until(() => newcomer.received.length === 4)
        expect(node.host.opens.length).toBeGreaterThan(length)
        const number = node.host.opens.findIndex(({ remote }) => remote![12] === 127 && remote![13] === 8 && remote![15] === 1 + i / 500) + 1
        node.driver.confirm(number as LinkId)
        expect(node.driver.links().some(({ id }) => id === number)).toBe(true)
        held++
      }
    }
    // One of each five is garbage, which ends by itself.
    await until(() => node.stat('tcp_accepted') === total + held + 1)
    expect(alivePeak).toBeLessThanOrEqual(64 + 1 + held)
    expect(node.stat('tcp_end_evicted') + node.stat('tcp_end_bad_preface') + node.stat('tcp_end_reset')).toBeGreaterThan(total - 64 - 1)
    await until(() => node.host.received_.filter(({ link: from }) => from === links.b).length === total / 100)
    expect(node.host.ends(links.b)).toEqual([])
    expect(friend.host.changes).toEqual([])
    // This process holds the test's 2,000 sockets as well.
    expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(32 << 20)
  })

  it('an accept that the system refuses is counted, and the listener goes on', async () => {
    const servers: Server[] = []
    const node = await open()
    const create = node.system.createServer
    const other = await openNode({ system: Object.assign(node.system, { createServer: (...args: Parameters<typeof create>) => {
      const server = create(...args)
      servers.push(server)
      return server
    } }) })
    closers.push(() => other.close())
    servers[0]!.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }))
    expect(other.stat('tcp_accept_errors')).toBe(1)
    const raw = await dial(other, '127.0.0.1')
    await raw.write(PREFACE)
    await until(() => other.host.opens.length === 1)
  })
})

describe('half-open table', () => {
  it('is bounded in all and per prefix, takes every newcomer, and sends away the oldest of the right prefix', () => {
    let seed = 3
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((seed / 2 ** 32) * below)
    }
    const table = new HalfOpen<number>(64, 8)
    let members: { readonly member: number; readonly prefix: string }[] = []
    const countOf = (prefix: string): number => members.filter((other) => other.prefix === prefix).length
    for (let member = 0; member < 5_000; member++) {
      if (random(4) === 0 && members.length > 0) {
        const leaver = members[random(members.length)]!.member
        table.delete(leaver)
        members = members.filter((other) => other.member !== leaver)
      }
      const prefix = String(random(random(2) === 0 ? 4 : 200))
      const most = Math.max(0, ...members.map((other) => countOf(other.prefix)))
      const expected = countOf(prefix) >= 8
        ? members.find((other) => other.prefix === prefix)
        : members.length >= 64 ? members.find((other) => countOf(other.prefix) === most) : undefined
      expect(table.add(member, prefix)).toBe(expected?.member)
      members = [...members.filter((other) => other !== expected), { member, prefix }]
      expect(table.size).toBe(members.length)
    }
  })

  it('counts IPv4 by address and IPv6 by /64', () => {
    const prefix = (host: string): string => prefixOf(encodeAddress(host, 1)!)
    expect(prefix('192.0.2.1')).not.toBe(prefix('192.0.2.2'))
    expect(prefix('::ffff:192.0.2.1')).toBe(prefix('192.0.2.1'))
    expect(prefix('2001:db8:1:2::1')).toBe(prefix('2001:db8:1:2:ffff::9'))
    expect(prefix('2001:db8:1:2::1')).not.toBe(prefix('2001:db8:1:3::1'))
    expect(prefixOf(encodeAddress('192.0.2.1', 5)!)).toBe(prefixOf(encodeAddress('192.0.2.1', 6)!))
  })
})
