import { createSocket } from 'node:dgram'
import { afterEach, describe, expect, it } from 'vitest'
import { AssertionError } from '../../src/core/base/assert.ts'
import { PosternError } from '../../src/core/base/errors.ts'
import { Arena } from '../../src/core/base/arena.ts'
import { UdpDriver } from '../../src/net/udp.ts'
import { nativeEngine, udpFeature } from '../../src/net/udp-native.ts'
import type { UdpEngine } from '../../src/net/udp-socket.ts'
import { addon } from '../support/addon.ts'
import { addRow, defaults, hasIPv6, makeNode, openNode, sendAll, SLAB_SIZE, TestHost, turn, until, type Node } from './udp-support.ts'

const opened: UdpDriver[] = []
const engines: readonly (readonly [string, UdpEngine | undefined])[] = [
  ['node:dgram', undefined],
  ...addon?.udp === undefined ? [] : [['the addon', nativeEngine(addon.udp)] as const, ['the addon without GSO and GRO', nativeEngine(addon.udp, { features: udpFeature.ecn | udpFeature.dontFragment })] as const],
]

describe.each(engines)('UDP by %s', (_name, engine) => {
  async function open(options: Parameters<typeof openNode>[0] = {}): Promise<Node> {
    const node = await openNode({ ...engine === undefined ? {} : { engine }, ...options })
    opened.push(node.driver)
    return node
  }

  afterEach(async () => {
    for (const driver of opened.splice(0)) await driver.close()
  })

  /** Bytes that say where they belong. */
  function pattern(length: number, seed: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let i = 0; i < length; i++) bytes[i] = (seed * 31 + i * 7 + (i >>> 8)) & 0xff
    return bytes
  }

  async function rejection(promise: Promise<unknown>): Promise<PosternError> {
    const error: unknown = await promise.then(() => undefined, (reason: unknown) => reason)
    if (!(error instanceof PosternError)) throw new Error(`expected a PosternError, got ${String(error)}`)
    return error
  }

  describe('addresses', () => {
    it('carries a datagram over IPv4', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      addRow(a, '127.0.0.1', b.driver.port, pattern(100, 1))
      expect(await sendAll(a)).toBe(1)
      await until(() => b.host.count === 1)
      expect(b.host.received_).toEqual([{ link: 1, from: `127.0.0.1:${a.driver.port}`, bytes: pattern(100, 1) }])
      expect(b.host.opens[0]).toMatchObject({ kind: 'udp', datagramMax: 65_507, segmentsMax: 64 })
    })

    it.skipIf(!hasIPv6)('carries a datagram over IPv6', async () => {
      const a = await open({ bind: ['::1'] })
      const b = await open({ bind: ['::1'] })
      addRow(a, '::1', b.driver.port, pattern(1200, 2))
      await sendAll(a)
      await until(() => b.host.count === 1)
      expect(b.host.received_).toEqual([{ link: 1, from: `[::1]:${a.driver.port}`, bytes: pattern(1200, 2) }])
    })

    it.skipIf(!hasIPv6)('speaks both families through one dual-stack socket, IPv4 in its own form', async () => {
      const dual = await open()
      const four = await open({ bind: ['127.0.0.1'] })
      const six = await open({ bind: ['::1'] })
      expect(dual.host.opens.map(({ dualStack }) => dualStack)).toEqual([true])
      expect(four.host.opens.map(({ dualStack }) => dualStack)).toEqual([false])
      addRow(dual, '127.0.0.1', four.driver.port, pattern(10, 3))
      addRow(dual, '::1', six.driver.port, pattern(20, 4))
      addRow(four, '127.0.0.1', dual.driver.port, pattern(30, 5))
      addRow(six, '::1', dual.driver.port, pattern(40, 6))
      await Promise.all([sendAll(dual), sendAll(four), sendAll(six)])
      await until(() => four.host.count === 1 && six.host.count === 1 && dual.host.count === 2)
      expect(four.host.received_[0]).toEqual({ link: 1, from: `127.0.0.1:${dual.driver.port}`, bytes: pattern(10, 3) })
      expect(six.host.received_[0]).toEqual({ link: 1, from: `[::1]:${dual.driver.port}`, bytes: pattern(20, 4) })
      expect(dual.host.received_.map(({ from }) => from).sort()).toEqual([`127.0.0.1:${four.driver.port}`, `[::1]:${six.driver.port}`].sort())
    })

    it('listens on several addresses with one port', async () => {
      const node = await open({ bind: ['127.0.0.1', '127.0.0.2'] })
      expect(node.host.opens.map(({ local }) => [...local.subarray(12)])).toEqual([
        [127, 0, 0, 1, node.driver.port & 0xff, node.driver.port >>> 8],
        [127, 0, 0, 2, node.driver.port & 0xff, node.driver.port >>> 8],
      ])
      const other = await open({ bind: ['127.0.0.1'] })
      addRow(node, '127.0.0.1', other.driver.port, pattern(9, 1), 9, 2)
      await sendAll(node)
      await until(() => other.host.count === 1)
      expect(other.host.received_[0]?.from).toBe(`127.0.0.2:${node.driver.port}`)
    })
  })

  describe('bursts', () => {
    it('cuts 64 segments in order, the last one shorter', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      const bytes = pattern(63 * 1181 + 17, 9)
      addRow(a, '127.0.0.1', b.driver.port, bytes, 1181)
      addRow(a, '127.0.0.1', b.driver.port, pattern(5, 1))
      expect(await sendAll(a)).toBe(2)
      await until(() => b.host.count === 65)
      b.host.received_.slice(0, 63).forEach(({ bytes: segment }, i) => expect(segment).toEqual(bytes.slice(i * 1181, (i + 1) * 1181)))
      expect(b.host.received_[63]?.bytes).toEqual(bytes.slice(63 * 1181))
      expect(b.host.received_[64]?.bytes).toEqual(pattern(5, 1))
      expect(a.driver.stats()).toMatchObject({ udp_sent_datagrams: 65, udp_sent_bytes: 63 * 1181 + 22 })
      expect(b.driver.stats()).toMatchObject({ udp_received_datagrams: 65, udp_received_bytes: 63 * 1181 + 22 })
    })

    it('flushes at once when the batch or the slab is full, and carries the largest datagram', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const rows = await open({ bind: ['127.0.0.1'], batchCapacity: 4 })
      const slab = await open({ bind: ['127.0.0.1'], slabSize: 65_536 })
      for (let i = 0; i < 20; i++) addRow(a, '127.0.0.1', rows.driver.port, pattern(50 + i, i))
      await sendAll(a)
      for (const size of [65_507, 1000, 65_507]) addRow(a, '127.0.0.1', slab.driver.port, pattern(size, size))
      await sendAll(a)
      await until(() => rows.host.count === 20 && slab.host.count === 3)
      expect(Math.max(...rows.host.rowCounts)).toBeLessThanOrEqual(4)
      rows.host.received_.forEach(({ bytes }, i) => expect(bytes).toEqual(pattern(50 + i, i)))
      expect(slab.host.received_.map(({ bytes }) => bytes)).toEqual([65_507, 1000, 65_507].map((size) => pattern(size, size)))
    })

    it('gathers what one turn of the loop brought into one batch', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      addRow(a, '127.0.0.1', b.driver.port, pattern(30 * 100, 1), 100)
      await sendAll(a)
      await until(() => b.host.count === 30)
      // Sent before the loop polled again. libuv reads up to 32 at once, the addon 8 messages, which are more with GRO.
      expect(b.host.batchCounts.length).toBeLessThanOrEqual(4)
    })

    it('counts 10,000 random datagrams in and out', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      b.host.keep = false
      let sent = 0
      let sentBytes = 0
      while (sent < 10_000) {
        const segments = 1 + Math.floor(Math.random() * 64)
        const segmentSize = 1 + Math.floor(Math.random() * 1437)
        const bytes = pattern(Math.max(1, segments * segmentSize - Math.floor(Math.random() * segmentSize)), sent)
        addRow(a, '127.0.0.1', b.driver.port, bytes, segmentSize)
        sent += Math.ceil(bytes.length / segmentSize)
        sentBytes += bytes.length
        await sendAll(a)
        await until(() => b.host.count === sent)
      }
      expect(b.host.bytesReceived).toBe(sentBytes)
      expect(a.driver.stats()).toMatchObject({ udp_sent_datagrams: sent, udp_sent_bytes: sentBytes })
      expect(b.driver.stats()).toMatchObject({ udp_received_datagrams: sent, udp_received_bytes: sentBytes })
    })

    it('survives being overrun: what the kernel dropped is known, what it kept is whole', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'], receiveBuffer: 65_536 })
      expect(b.driver.links()[0]?.receiveBuffer).toBeLessThan(1 << 20)
      const bytes = pattern(64 * 1181, 5)
      // All within one turn: the receiver, in the same process, cannot read in between.
      let done = 0
      for (let i = 0; i < 10; i++) {
        a.batch.reset(a.slab, SLAB_SIZE)
        addRow(a, '127.0.0.1', b.driver.port, bytes, 1181)
        a.driver.send(a.batch, () => done++)
      }
      await until(() => done === 10)
      const dropped = (): number | undefined => b.driver.stats()['udp_kernel_drops']
      // Loopback hands a burst over as one, and with GRO the kernel drops, and counts, it as one.
      const bursts = b.driver.links()[0]?.features?.includes('gro') === true
      await until(() => (process.platform === 'linux' ? (dropped() ?? 0) > 0 && b.host.count + (bursts ? 0 : dropped() ?? 0) >= (bursts ? 1 : 640) : b.host.count > 0))
      for (let i = 0; i < 5; i++) await turn()
      expect(b.host.count).toBeLessThan(640)
      expect(b.host.count + (dropped() ?? 0)).toBeLessThanOrEqual(640)
      for (const { bytes: segment } of b.host.received_) expect(segment).toHaveLength(1181)
      const before = b.host.count
      a.batch.reset(a.slab, SLAB_SIZE)
      addRow(a, '127.0.0.1', b.driver.port, pattern(7, 7))
      await sendAll(a)
      await until(() => b.host.count === before + 1)
    })
  })

  describe('rules of the slab', () => {
    it('is not done before the event loop comes round, and then exactly once', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      let done = 0
      addRow(a, '127.0.0.1', b.driver.port, pattern(10 * 64, 1), 64)
      a.driver.send(a.batch, () => done++)
      expect(done).toBe(0)
      await Promise.resolve()
      expect(done).toBe(0)
      await until(() => done === 1)
      await turn()
      expect(done).toBe(1)
    })

    it('takes no row of a link it does not have, and is done all the same', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      addRow(a, '127.0.0.1', 9, pattern(10, 1), 10, 77)
      expect(await sendAll(a)).toBe(0)
      expect(a.driver.stats()).toMatchObject({ udp_sent_datagrams: 0 })
    })

    it('lets the host send from every call without starving timers', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      b.host.keep = false
      let rounds = 0
      let running = true
      const again = (): void => {
        rounds++
        if (!running) return
        a.batch.reset(a.slab, SLAB_SIZE)
        addRow(a, '127.0.0.1', b.driver.port, pattern(200, rounds))
        a.driver.send(a.batch, again)
      }
      again()
      await new Promise((resolve) => setTimeout(resolve, 30))
      await until(() => rounds > 10)
      running = false
      await turn()
    })

    it('refuses bad rows before anything is sent', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const bad: ((batch: Node['batch']) => void)[] = [
        (batch) => (batch.offset[1] = batch.base - 1),
        (batch) => (batch.length[1] = SLAB_SIZE),
        (batch) => (batch.length[1] = 0),
        (batch) => (batch.length[1] = -4),
        (batch) => (batch.segmentSize[1] = 0),
        (batch) => (batch.segmentSize[1] = 65_508),
        (batch) => ((batch.length[1] = 650), (batch.segmentSize[1] = 10)),
        (batch) => (batch.count = batch.capacity + 1),
        (batch) => (batch.base = -1),
        (batch) => (batch.size = 8 << 20),
      ]
      for (const spoil of bad) {
        a.batch.reset(a.slab, SLAB_SIZE)
        addRow(a, '127.0.0.1', a.driver.port, pattern(100, 1))
        addRow(a, '127.0.0.1', a.driver.port, pattern(100, 2))
        spoil(a.batch)
        expect(() => a.driver.send(a.batch, () => undefined), spoil.toString()).toThrow(AssertionError)
      }
      await turn()
      await turn()
      expect(a.host.count).toBe(0)
    })

    it('needs room in the arena and gives it back', async () => {
      const node = makeNode()
      await node.driver.start()
      const used = node.host.arena.used
      await node.driver.close()
      expect(node.host.arena.used).toBe(used - 131_072)

      const host = new TestHost()
      const full = new Arena(65_536)
      const driver = new UdpDriver(Object.assign(host, { arena: full }), defaults)
      expect((await rejection(driver.start())).code).toBe('limit')
      expect(driver.links()).toEqual([])
      await driver.close()
    })
  })

  describe('what the machine refuses', () => {
    it('says which port is in use and what to do', async () => {
      const taken = await open({ bind: ['127.0.0.1'] })
      const node = makeNode({ bind: ['127.0.0.1'], port: taken.driver.port })
      const error = await rejection(node.driver.start())
      expect(error.code).toBe('port_in_use')
      expect(error.message).toContain(String(taken.driver.port))
      expect(error.hint).toContain('[udp] port')
      expect(error.cause).toMatchObject({ code: 'EADDRINUSE' })
      expect(node.host.opens).toEqual([])
      // Nothing is left open, so it starts once the port is free.
      await taken.driver.close()
      await node.driver.start()
      expect(node.driver.port).toBe(taken.driver.port)
      await node.driver.close()
    })

    it('says so of an address that is not ours', async () => {
      expect((await rejection(makeNode({ bind: ['127.0.0.1', '198.51.100.9'] }).driver.start())).code).toBe('config')
    })

    it('counts a route that does not exist, a size that does not fit and a port that cannot be, and goes on', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      // From a socket bound to the loopback there is no way out.
      addRow(a, '203.0.113.1', 9, pattern(10, 1))
      addRow(a, '127.0.0.1', 0, pattern(10, 1))
      addRow(a, '127.0.0.1', b.driver.port, pattern(10, 2))
      await sendAll(a)
      await until(() => b.host.count === 1)
      const stats = a.driver.stats()
      expect((stats['udp_send_errors_einval'] ?? 0) + (stats['udp_send_errors_enetunreach'] ?? 0)).toBe(2)
      expect(stats).toMatchObject({ udp_sent_datagrams: 1, udp_failed: 0 })
    })

    it.skipIf(!hasIPv6 || process.platform !== 'linux')('counts ENETUNREACH by its name', async () => {
      const a = await open({ bind: ['::', '0.0.0.0'] })
      expect(a.host.opens).toHaveLength(2)
      // Link 1 takes IPv6 only, so there is no way to this address over it.
      addRow(a, '127.0.0.1', a.driver.port, pattern(200, 1), 100, 1)
      await sendAll(a)
      expect(a.driver.stats()).toMatchObject({ udp_send_errors_enetunreach: 2, udp_sent_datagrams: 0, udp_failed: 0 })
      addRow(a, '127.0.0.1', a.driver.port, pattern(100, 1), 100, 2)
      await sendAll(a)
      await until(() => a.host.count === 1)
      expect(a.host.received_[0]).toMatchObject({ link: 2 })
    })

    it('ignores an empty datagram, as there is nothing in it', async () => {
      const b = await open({ bind: ['127.0.0.1'] })
      const raw = createSocket('udp4')
      await new Promise<void>((resolve) => raw.send(Buffer.alloc(0), b.driver.port, '127.0.0.1', () => resolve()))
      await new Promise<void>((resolve) => raw.send(Buffer.from([1]), b.driver.port, '127.0.0.1', () => resolve()))
      await until(() => b.host.count === 1)
      raw.close()
      expect(b.driver.stats()).toMatchObject({ udp_received_empty: 1, udp_received_datagrams: 1 })
    })
  })

  describe('closing', () => {
    it('during sends: every done is called, links are closed last, and nothing comes after', async () => {
      const a = await openNode({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'] })
      let done = 0
      for (let i = 0; i < 4; i++) {
        a.batch.reset(a.slab, SLAB_SIZE)
        addRow(a, '127.0.0.1', b.driver.port, pattern(64 * 1000, i), 1000)
        a.driver.send(a.batch, () => done++)
      }
      const closing = Promise.all([a.driver.close(), a.driver.close()])
      expect(a.driver.send(a.batch, () => done++)).toBe(0)
      await closing
      await until(() => done === 5)
      expect(a.host.changes).toEqual([{ link: 1, state: 'closed', cause: undefined }])
      expect(a.driver.links()).toEqual([])
      const count = a.host.count
      await turn()
      expect(a.host.count).toBe(count)
    })

    it('from inside received', async () => {
      const a = await open({ bind: ['127.0.0.1'] })
      const b = await open({ bind: ['127.0.0.1'], batchCapacity: 2 })
      let closing: Promise<void> | undefined
      b.host.onReceived = () => {
        closing ??= b.driver.close()
      }
      // Rows that no kernel joins: their sizes grow.
      for (let i = 1; i <= 20; i++) addRow(a, '127.0.0.1', b.driver.port, pattern(10 * i, i))
      await sendAll(a)
      await until(() => closing !== undefined)
      await closing
      expect(b.host.rowCounts).toEqual([2])
      expect(b.host.changes.map(({ state }) => state)).toEqual(['closed'])
    })

    it('before or while it starts, and starts again on the same port', async () => {
      const node = makeNode({ bind: ['127.0.0.1'] })
      await node.driver.close()
      const starting = node.driver.start()
      await node.driver.close()
      await starting
      expect(node.driver.links()).toEqual([])
      const { port } = node.driver
      expect(port).toBeGreaterThan(0)
      await node.driver.start()
      expect(node.driver.port).toBe(port)
      expect(node.driver.links()).toHaveLength(1)
      await node.driver.close()
    })
  })
})
