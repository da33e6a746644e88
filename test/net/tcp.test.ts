import { afterEach, describe, expect, it } from 'vitest'
import { formatAddress } from '../../src/core/base/address.ts'
import { AssertionError } from '../../src/core/base/assert.ts'
import { Arena } from '../../src/core/base/arena.ts'
import { PosternError } from '../../src/core/base/errors.ts'
import type { LinkId } from '../../src/core/endpoint/contract.ts'
import { TcpDriver, type TcpOptions } from '../../src/net/tcp.ts'
import { link, openNode, pattern, PREFACE, rawDial, rawListen, record, SLAB_SIZE, TcpHost, TcpNode } from './tcp-support.ts'
import { hasIPv6, turn, until } from './udp-support.ts'

const closers: (() => Promise<void>)[] = []

async function open(options: Partial<TcpOptions> = {}): Promise<TcpNode> {
  const node = await openNode(options)
  closers.push(() => node.close())
  return node
}

async function pair(): Promise<{ a: TcpNode; b: TcpNode; la: LinkId; lb: LinkId }> {
  const [a, b] = [await open(), await open()]
  const links = await link(a, b)
  return { a, b, la: links.a, lb: links.b }
}

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

describe('opening', () => {
  it('a dial becomes a link on both sides, known by its token, with both addresses', async () => {
    const [a, b] = [await open(), await open()]
    expect(a.driver.dial(b.address, 77)).toBe('dialing')
    await until(() => a.host.opens.length === 1 && b.host.opens.length === 1)
    expect(a.host.tokens).toEqual([77])
    expect(b.host.tokens).toEqual([undefined])
    const [dialer, acceptor] = [a.host.opens[0]!, b.host.opens[0]!]
    expect(dialer).toMatchObject({ kind: 'tcp', dialed: true, datagramMax: 16_349, segmentsMax: 64 })
    expect(acceptor).toMatchObject({ kind: 'tcp', dialed: false, datagramMax: 16_349, segmentsMax: 64 })
    expect(formatAddress(dialer.remote!)).toBe(`127.0.0.1:${b.driver.port}`)
    expect(formatAddress(acceptor.local)).toBe(`127.0.0.1:${b.driver.port}`)
    expect(dialer.local).toEqual(acceptor.remote)
    expect(a.driver.links()).toEqual([{ id: 1, info: dialer, receiveBuffer: undefined, sendBuffer: undefined, unsent: 0 }])
    expect(a.stat('tcp_opened') + b.stat('tcp_opened')).toBe(2)
  })

  it('the dialer writes the preface first, the acceptor after it read it, and neither anything else', async () => {
    const node = await open()
    const server = await rawListen()
    closers.push(() => server.close())
    node.driver.dial(server.address, 1)
    await until(() => server.accepted[0]?.received.length === 4)
    expect(server.accepted[0]!.received).toEqual(PREFACE)
    expect(node.host.opens).toEqual([])
    await server.accepted[0]!.write(PREFACE)
    await until(() => node.host.opens.length === 1)
    expect(server.accepted[0]!.received).toEqual(PREFACE)

    const raw = await rawDial(node)
    await raw.write(PREFACE.subarray(0, 3))
    await turn()
    expect(raw.received).toHaveLength(0)
    await raw.write(PREFACE.subarray(3))
    await until(() => node.host.opens.length === 2)
    await until(() => raw.received.length === 4)
    expect(raw.received).toEqual(PREFACE)
    raw.socket.destroy()
  })

  it('both sides dialing at once are two connections, and each carries datagrams', async () => {
    const [a, b] = [await open(), await open()]
    a.driver.dial(b.address, 1)
    b.driver.dial(a.address, 2)
    await until(() => a.host.opens.length === 2 && b.host.opens.length === 2)
    for (const node of [a, b]) {
      for (const id of [1, 2]) node.driver.confirm(id as LinkId)
      node.add(1, pattern(100, 1))
      node.add(2, pattern(200, 2))
      expect(await node.send()).toBe(2)
    }
    await until(() => a.host.count === 2 && b.host.count === 2)
    for (const node of [a, b]) expect(node.host.received_.map(({ bytes: { length } }) => length).sort((x, y) => x - y)).toEqual([100, 200])
  })

  it.skipIf(!hasIPv6)('listens on both families with "::", IPv4 in its own form', async () => {
    const dual = await open({ bind: ['::'] })
    const [four, six] = [await open(), await open({ bind: ['::1'] })]
    four.driver.dial(dual.address, 1)
    const address = dual.address.slice()
    address.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    six.driver.dial(address, 1)
    await until(() => dual.host.opens.length === 2 && four.host.opens.length === 1 && six.host.opens.length === 1)
    expect(dual.host.opens.map(({ remote }) => formatAddress(remote!)).sort()).toEqual([
      formatAddress(four.host.opens[0]!.local), formatAddress(six.host.opens[0]!.local),
    ].sort())
  })

  it('listens on several addresses with one port, and dials without listening at all', async () => {
    const several = await open({ bind: ['127.0.0.1', '127.0.0.2'] })
    const mute = await open({ bind: [] })
    expect(mute.driver.port).toBe(0)
    mute.driver.dial(several.address, 1)
    const second = several.address.slice()
    second[15] = 2
    mute.driver.dial(second, 2)
    await until(() => mute.host.opens.length === 2)
    expect(mute.host.opens.map(({ remote }) => formatAddress(remote!)).sort()).toEqual([`127.0.0.1:${several.driver.port}`, `127.0.0.2:${several.driver.port}`])
  })

  it('says which port is in use and what to do, and starts once it is free', async () => {
    const taken = await open()
    const node = new TcpNode({ port: taken.driver.port })
    const error: unknown = await node.driver.start().then(() => undefined, (reason: unknown) => reason)
    expect(error).toBeInstanceOf(PosternError)
    expect(error).toMatchObject({ code: 'port_in_use', cause: { code: 'EADDRINUSE' } })
    expect(String(error)).toContain(String(taken.driver.port))
    expect(node.driver.dial(taken.address, 1)).toBe('closed')
    await taken.close()
    await node.driver.start()
    expect(node.driver.port).toBe(taken.driver.port)
    await node.close()
    // The address of no interface leaves nothing open, not even the listener that was opened before it.
    const half = new TcpNode({ port: node.driver.port, bind: ['127.0.0.1', '198.51.100.9'] })
    await expect(half.driver.start()).rejects.toMatchObject({ code: 'config' })
    const again = await open({ port: node.driver.port })
    expect(again.driver.port).toBe(node.driver.port)
  })

  it('needs room in the arena and gives it back', async () => {
    const node = new TcpNode()
    await node.driver.start()
    const { used } = node.host.arena
    await node.close()
    expect(node.host.arena.used).toBe(used - 131_072)
    const poor = Object.assign(new TcpHost(), { arena: new Arena(65_536) })
    const driver = new TcpDriver(poor, { port: 0, bind: ['127.0.0.1'] })
    await expect(driver.start()).rejects.toMatchObject({ code: 'limit' })
    await driver.close()
  })
})

describe('datagrams', () => {
  it('a row is cut into records, in order, the last one shorter, both ways', async () => {
    const { a, b, la, lb } = await pair()
    const bytes = pattern(63 * 1437 + 29, 9)
    a.add(la, bytes, 1437)
    a.add(la, pattern(20, 1))
    a.add(la, pattern(16_349, 2))
    b.add(lb, pattern(1000, 3), 100)
    expect(await a.send()).toBe(3)
    expect(await b.send()).toBe(1)
    await until(() => b.host.count === 66 && a.host.count === 10)
    b.host.received_.slice(0, 63).forEach(({ bytes: segment }, i) => expect(segment).toEqual(bytes.slice(i * 1437, (i + 1) * 1437)))
    expect(b.host.received_[63]!.bytes).toEqual(bytes.slice(63 * 1437))
    expect(b.host.received_[64]!.bytes).toEqual(pattern(20, 1))
    expect(b.host.received_[65]!.bytes).toEqual(pattern(16_349, 2))
    expect(b.host.received_[0]).toMatchObject({ link: lb, from: formatAddress(a.host.opens[0]!.local) })
    expect(a.host.received_[9]!.bytes).toEqual(pattern(1000, 3).slice(900))
    expect(a.driver.stats()).toMatchObject({ tcp_sent_datagrams: 66, tcp_sent_bytes: bytes.length + 20 + 16_349, tcp_received_datagrams: 10, tcp_writes: 1 })
  })

  it('on the wire they are records and nothing else', async () => {
    const node = await open()
    const raw = await rawDial(node)
    await raw.write(PREFACE)
    await until(() => node.host.opens.length === 1)
    node.add(1, pattern(50, 1), 25)
    node.add(1, pattern(16_349, 2))
    await node.send()
    await until(() => raw.received.length === 4 + 2 * 27 + 16_351)
    expect(raw.received).toEqual(Buffer.concat([PREFACE, record(pattern(50, 1).slice(0, 25)), record(pattern(50, 1).slice(25)), record(pattern(16_349, 2))]))
    raw.socket.destroy()
  })

  it('rows of several links in one batch go where they belong, one write each, in order', async () => {
    const [hub, ...leaves] = await Promise.all(Array.from({ length: 4 }, () => open()))
    const links: LinkId[] = []
    for (const leaf of leaves) links.push((await link(hub!, leaf)).a)
    for (let i = 0; i < 30; i++) hub!.add(i % 4 === 3 ? 99 : links[i % 3]!, pattern(30 + i, i))
    expect(await hub!.send()).toBe(23)
    const sizes = (remainder: number): number[] => Array.from({ length: 30 }, (_, i) => i).filter((i) => i % 4 !== 3 && i % 3 === remainder).map((i) => 30 + i)
    for (const [i, leaf] of leaves.entries()) {
      await until(() => leaf.host.count === sizes(i).length)
      expect(leaf.host.received_.map(({ bytes: { length } }) => length)).toEqual(sizes(i))
    }
    expect(hub!.stat('tcp_writes')).toBe(3)
  })

  it('what several connections brought in one turn is one batch', async () => {
    const hub = await open()
    const raws = await Promise.all(Array.from({ length: 6 }, () => rawDial(hub)))
    for (const raw of raws) await raw.write(PREFACE)
    await until(() => hub.host.opens.length === 6)
    for (const id of [1, 2, 3, 4, 5, 6]) hub.driver.confirm(id as LinkId)
    // All written before the loop reads again.
    for (const [i, { socket }] of raws.entries()) socket.write(Buffer.concat([record(pattern(100, i)), record(pattern(101, i))]))
    await until(() => hub.host.count === 12)
    expect(hub.host.batchCounts.length).toBeLessThan(4)
    expect(new Set(hub.host.received_.map(({ link: id }) => id)).size).toBe(6)
    for (const { socket } of raws) socket.destroy()
  })

  it('flushes when the batch or the slab is full', async () => {
    const a = await open()
    const rows = await open({ batchCapacity: 4 })
    const slab = await open({ slabSize: 16_384 })
    const [toRows, toSlab] = [(await link(a, rows)).a, (await link(a, slab, 2)).a]
    for (let i = 0; i < 20; i++) a.add(toRows, pattern(50 + i, i))
    for (const size of [16_349, 36, 16_349, 16_000, 384, 385]) a.add(toSlab, pattern(size, size))
    await a.send()
    await until(() => rows.host.count === 20 && slab.host.count === 6)
    expect(Math.max(...rows.host.batchCounts)).toBeLessThanOrEqual(4)
    expect(slab.host.received_.map(({ bytes }) => bytes)).toEqual([16_349, 36, 16_349, 16_000, 384, 385].map((size) => pattern(size, size)))
  })

  it('content and order of 100,000 datagrams of random sizes hold, through splits, blocking and pauses', async () => {
    const { a, b, la, lb } = await pair()
    const total = 100_000
    let next = 0
    let seen = 0
    let wrong = 0
    let blocked = false
    b.host.keep = false
    const sizeOf = (n: number): number => 20 + ((Math.imul(n, 2_654_435_761) >>> 0) % (n % 997 === 0 ? 16_330 : 400))
    b.host.onReceived = (batch) => {
      const { bytes } = b.host.arena
      for (let row = 0; row < batch.count; row++, seen++) {
        const [offset, length] = [batch.offset[row]!, batch.length[row]!]
        const number = bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16)
        if (length !== sizeOf(seen) || number !== seen) wrong++
        for (let i = 3; i < length; i++) if (bytes[offset + i] !== ((seen + i) & 0xff)) wrong++
      }
      // The core overwrites what it opens in place.
      bytes.fill(0xee, batch.offset[0], batch.offset[batch.count - 1]! + batch.length[batch.count - 1]!)
      if (seen % 5 === 0) {
        b.driver.pause(lb)
        setTimeout(() => b.driver.resume(lb), 1)
      }
    }
    a.host.onChanged = (_link, state) => (blocked = state === 'blocked')
    while (next < total) {
      const { batch } = a
      while (next < total && batch.used + 16_349 <= 131_072 && batch.count < batch.capacity) {
        const [offset, length] = [batch.base + batch.used, sizeOf(next)]
        const bytes = a.host.arena.bytes
        bytes[offset] = next & 0xff
        bytes[offset + 1] = (next >>> 8) & 0xff
        bytes[offset + 2] = next >>> 16
        for (let i = 3; i < length; i++) bytes[offset + i] = (next + i) & 0xff
        const row = batch.count++
        batch.link[row] = la
        batch.offset[row] = offset
        batch.length[row] = batch.segmentSize[row] = length
        batch.used += length
        next++
      }
      await a.send()
      a.host.arena.bytes.fill(0xdd, a.slab, a.slab + SLAB_SIZE)
      await until(() => !blocked)
    }
    await until(() => seen === total, 15_000)
    expect(wrong).toBe(0)
    expect(a.driver.stats()).toMatchObject({ tcp_sent_datagrams: total, tcp_overflow_datagrams: 0 })
    expect(b.driver.stats()).toMatchObject({ tcp_received_datagrams: total })
    expect(b.stat('tcp_paused')).toBeGreaterThan(0)
  })
})

describe('sending', () => {
  it('is done once per call, later, also when no row was taken', async () => {
    const { a, la } = await pair()
    let done = 0
    a.add(la, pattern(100, 1))
    a.hand(() => done++)
    a.add(99, pattern(100, 1))
    expect(a.hand(() => done++)).toBe(0)
    expect(a.hand(() => done++)).toBe(0)
    await Promise.resolve()
    expect(done).toBe(0)
    await until(() => done === 3)
    await turn()
    expect(done).toBe(3)
  })

  it('refuses bad rows of its links before anything is sent, and minds no others', async () => {
    const { a, b, la } = await pair()
    const bad: ((batch: TcpNode['batch']) => void)[] = [
      (batch) => (batch.offset[1] = batch.base - 1),
      (batch) => (batch.length[1] = SLAB_SIZE),
      (batch) => (batch.length[1] = 0),
      (batch) => (batch.length[1] = -4),
      (batch) => (batch.segmentSize[1] = 0),
      (batch) => (batch.segmentSize[1] = 19),
      (batch) => (batch.segmentSize[1] = 16_350),
      (batch) => ((batch.length[1] = 119), (batch.segmentSize[1] = 100)),
      (batch) => (batch.count = batch.capacity + 1),
      (batch) => (batch.base = -1),
      (batch) => (batch.size = 8 << 20),
    ]
    for (const spoil of bad) {
      a.add(la, pattern(200, 1))
      a.add(la, pattern(200, 2))
      spoil(a.batch)
      expect(() => a.driver.send(a.batch, () => undefined), spoil.toString()).toThrow(AssertionError)
      a.batch.reset(a.slab, SLAB_SIZE)
    }
    a.add(7, pattern(5, 1), 1)
    a.add(la, pattern(40, 1), 20)
    expect(await a.send()).toBe(1)
    await until(() => b.host.count === 2)
    expect(b.host.count).toBe(2)
  })

  it('lets the host send from every call without starving timers', async () => {
    const { a, b, la, lb } = await pair()
    let rounds = 0
    let running = true
    const again = (node: TcpNode, id: LinkId) => (): void => {
      rounds++
      if (!running) return
      node.add(id, pattern(200, rounds))
      node.driver.send(node.batch, again(node, id))
      node.batch.reset(node.slab, SLAB_SIZE)
    }
    a.host.keep = b.host.keep = false
    again(a, la)()
    b.host.onReceived = again(b, lb)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(rounds).toBeGreaterThan(10)
    running = false
    await turn()
  })
})

describe('closing', () => {
  it('a link: what is queued arrives, then both sides hear of it, once', async () => {
    const { a, b, la, lb } = await pair()
    for (let i = 0; i < 10; i++) a.add(la, pattern(1000, i))
    a.hand()
    a.quietly((driver) => driver.closeLink(la))
    expect(a.driver.links()).toEqual([])
    a.add(la, pattern(100, 1))
    expect(a.hand()).toBe(0)
    await until(() => a.host.ends(la).length === 1 && b.host.ends(lb).length === 1)
    expect(b.host.count).toBe(10)
    expect(a.host.changes).toEqual([{ link: la, state: 'closed', cause: undefined }])
    expect(b.host.changes).toEqual([{ link: lb, state: 'closed', cause: expect.objectContaining({ code: 'disconnected' }) as unknown }])
    expect(a.system.timers.size + b.system.timers.size).toBeLessThanOrEqual(2)
    for (const call of ['confirm', 'closeLink', 'pause', 'resume'] as const) a.driver[call](la)
    await turn()
    expect(a.host.changes).toHaveLength(1)
  })

  it('the driver: every done is called, links are told last, and nothing comes after', async () => {
    const { a, b, la, lb } = await pair()
    let done = 0
    for (let i = 0; i < 4; i++) {
      a.add(la, pattern(64 * 1000, i), 1000)
      a.hand(() => done++)
    }
    b.add(lb, pattern(1000, 1))
    await b.send()
    const closing = Promise.all([a.driver.close(), a.driver.close()])
    expect(a.hand(() => done++)).toBe(0)
    await closing
    expect(done).toBe(5)
    expect(a.host.changes).toEqual([{ link: la, state: 'closed', cause: undefined }])
    await until(() => b.host.count === 256)
    const { count } = a.host
    await turn()
    expect(a.host.count).toBe(count)
    expect(a.driver.dial(b.address, 2)).toBe('closed')
  })

  it('from inside every call of the host', async () => {
    for (const where of ['opened', 'received', 'changed'] as const) {
      const [a, b] = [await open(), await open()]
      let closing: Promise<void> | undefined
      const close = (): void => void (closing ??= b.driver.close())
      if (where === 'opened') b.host.onOpened = close
      else b.host.onReceived = where === 'received' ? close : () => undefined
      if (where === 'changed') b.host.onChanged = close
      a.driver.dial(b.address, 1)
      await until(() => a.host.opens.length + a.host.dialFailures.length === 1)
      a.add(1, pattern(20 * 10, 1), 20)
      a.hand()
      await until(() => b.host.opens.length === 1 && (where !== 'changed' || b.host.count === 10))
      if (where === 'changed') a.driver.closeLink(1 as LinkId)
      await until(() => closing !== undefined)
      await closing
      expect(b.host.ends(1)).toEqual(['closed'])
    }
  })

  it('before or while it starts, and starts again on the same port', async () => {
    const node = new TcpNode()
    await node.close()
    const starting = node.driver.start()
    await node.close()
    await starting
    const { port } = node.driver
    expect(port).toBeGreaterThan(0)
    await node.driver.start()
    expect(node.driver.port).toBe(port)
    const other = await open()
    await link(other, node)
    await node.close()
    await until(() => other.host.ends(1).length === 1)
  })
})

describe('reading', () => {
  it('stops while the host has paused a link, and goes on where it stopped', async () => {
    const { a, b, la, lb } = await pair()
    b.quietly((driver) => driver.pause(lb))
    for (let round = 0; round < 100; round++) {
      a.add(la, pattern(64 * 1400, round), 1400)
      await a.send()
      if (a.host.changes.length > 0) break
    }
    await until(() => a.host.changes.length > 0)
    expect(a.host.changes.map(({ state }) => state)).toEqual(['blocked'])
    const before = b.host.count
    for (let i = 0; i < 20; i++) await turn()
    expect(b.host.count).toBe(before)
    b.quietly((driver) => driver.resume(lb))
    await until(() => b.host.count === a.stat('tcp_sent_datagrams'))
    await until(() => a.host.changes.length === 2)
    expect(a.host.changes.map(({ state }) => state)).toEqual(['blocked', 'writable'])
    expect(a.driver.links()[0]!.unsent).toBe(0)
  })

  it('stops within a read when the host pauses in the middle of it, and tells the end only after the rest', async () => {
    const b = await open({ batchCapacity: 4 })
    const raw = await rawDial(b)
    await raw.write(PREFACE)
    await until(() => b.host.opens.length === 1)
    b.driver.confirm(1 as LinkId)
    b.host.onReceived = () => b.driver.pause(1 as LinkId)
    await raw.write(...Array.from({ length: 10 }, (_, i) => record(pattern(100, i))))
    raw.socket.end()
    await until(() => b.host.count === 4)
    for (let i = 0; i < 10; i++) await turn()
    expect(b.host.count).toBe(4)
    expect(b.host.changes).toEqual([])
    b.driver.resume(1 as LinkId)
    await until(() => b.host.count === 8)
    b.host.onReceived = () => undefined
    b.driver.resume(1 as LinkId)
    await until(() => b.host.ends(1).length === 1)
    expect(b.host.received_.map(({ bytes }) => bytes)).toEqual(Array.from({ length: 10 }, (_, i) => pattern(100, i)))
    expect(b.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([['closed', 'disconnected']])
    await until(() => raw.closed)
  })

  it('leaves no socket behind', async () => {
    const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP')).length
    await until(() => sockets() === 0)
    const { a, b } = await pair()
    const raw = await rawDial(b)
    expect(sockets()).toBeGreaterThan(0)
    await Promise.all([a.close(), b.close()])
    await until(() => raw.closed || raw.ended)
    raw.socket.destroy()
    await until(() => sockets() === 0)
  })
})
