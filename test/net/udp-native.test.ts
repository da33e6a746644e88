import { constants } from 'node:os'
import { afterEach, describe, expect, it } from 'vitest'
import { ADDRESS_SIZE, decodeAddress, encodeAddress, formatAddress } from '../../src/core/base/address.ts'
import type { ReceiveBatch } from '../../src/core/endpoint/contract.ts'
import { nativeEngine, udpFeature } from '../../src/net/udp-native.ts'
import { addon } from '../support/addon.ts'
import { FakeUdpAddon } from './fake-udp-addon.ts'
import { addRow, hasIPv6, openNode, sendAll, SLAB_SIZE, turn, until, type Node } from './udp-support.ts'

const opened: Node[] = []

async function open(options: Parameters<typeof openNode>[0]): Promise<Node> {
  const node = await openNode(options)
  opened.push(node)
  return node
}

afterEach(async () => {
  for (const { driver } of opened.splice(0)) await driver.close()
})

describe.skipIf(addon?.udp === undefined)('sockets of the addon', () => {
  const engine = (features?: number): ReturnType<typeof nativeEngine> => nativeEngine(addon!.udp!, features === undefined ? {} : { features })

  it('a burst goes as one and comes as one, where the kernel can', async () => {
    const [a, b] = [await open({ bind: ['127.0.0.1'], engine: engine() }), await open({ bind: ['127.0.0.1'], engine: engine() })]
    const features = b.driver.links()[0]?.features ?? []
    addRow(a, '127.0.0.1', b.driver.port, new Uint8Array(50 * 1181).fill(3), 1181)
    await sendAll(a)
    await until(() => b.host.count === 50)
    if (features.includes('gro') && features.includes('gso')) expect(b.host.rowCounts).toEqual([1])
    else console.warn('test/net: this kernel has no GSO or no GRO: bursts are sent as datagrams')
    expect(b.driver.stats()).toMatchObject({ udp_received_batches: b.host.rowCounts.length, udp_received_datagrams: 50 })
  })

  it('uses what it is told to, and no more', async () => {
    const plain = await open({ bind: ['127.0.0.1'], engine: engine(0) })
    expect(plain.driver.links()[0]?.features).toEqual([])
    const one = await open({ bind: ['127.0.0.1'], engine: engine(udpFeature.ecn) })
    expect(one.driver.links()[0]?.features).toEqual(['ecn'])
  })

  it.each([
    ['IPv4', ['127.0.0.1'], '127.0.0.1'], ['IPv6', ['::1'], '::1'], ['IPv4 on a dual-stack socket', ['::'], '127.0.0.1'], ['IPv6 on a dual-stack socket', ['::'], '::1'],
  ] as const)('carries ECN and a TTL over %s', async (_name, bind, to) => {
    if (!hasIPv6 && bind[0] !== '127.0.0.1') return
    const [a, b] = [await open({ bind, engine: engine() }), await open({ bind, engine: engine() })]
    const seen: number[] = []
    b.host.onReceived = (batch) => {
      for (let row = 0; row < batch.count; row++) for (let i = 0; i < Math.ceil(batch.length[row]! / batch.segmentSize[row]!); i++) seen.push(batch.ecn[row]!)
    }
    for (const ecn of [0, 1, 2, 3]) {
      a.batch.ecn[a.batch.count] = ecn
      a.batch.ttl[a.batch.count] = ecn === 1 ? 3 : 0
      addRow(a, to, b.driver.port, new Uint8Array(400 + 100 * ecn), 100)
      await sendAll(a)
      await until(() => b.host.count === [4, 9, 15, 22][ecn])
    }
    expect(seen).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3])
    expect(a.driver.stats()).toMatchObject({ udp_ttl_ignored: 0 })
  })

  it.each([['0.0.0.0', '0.0.0.0'], ['::', '0.0.0.0'], ['::', '::']] as const)('bound to %s answers from the address that was written to; asked from %s', async (bind, from) => {
    if (!hasIPv6 && bind === '::') return
    const [a, b] = [await open({ bind: [from], engine: engine() }), await open({ bind: [bind], engine: engine() })]
    expect(b.driver.links()[0]?.features).toContain('packetInfo')
    const heard: { readonly from: string; readonly local: number }[] = []
    const listen = (batch: ReceiveBatch): void => {
      for (let row = 0; row < batch.count; row++) heard.push({ from: decodeAddress(batch.address, row * ADDRESS_SIZE).host, local: batch.local[row]! })
    }
    a.host.onReceived = listen
    b.host.onReceived = listen
    const locals: number[] = []
    for (const to of ['127.0.0.2', '127.0.0.1', '127.0.0.2']) {
      addRow(a, to, b.driver.port, new Uint8Array(100))
      await sendAll(a)
      await until(() => heard.length === 1)
      locals.push(heard.pop()!.local)
    }
    expect([locals[0] === locals[2], locals[0] === locals[1], locals.includes(0)]).toEqual([true, false, false])
    // A number that nothing came to is none.
    for (const [local, source] of [[locals[0], '127.0.0.2'], [locals[1], '127.0.0.1'], [0, '127.0.0.1'], [200, '127.0.0.1']] as const) {
      b.batch.local[b.batch.count] = local!
      addRow(b, '127.0.0.1', a.driver.port, new Uint8Array(300), 100)
      await sendAll(b)
      await until(() => heard.length > 0)
      expect(new Set(heard.splice(0).map((one) => one.from))).toEqual(new Set([source]))
    }
    expect(b.driver.stats()).toMatchObject({ udp_source_gone: 0 })
  })

  it.each([['127.0.0.1', '127.0.0.1'], ['::', '127.0.0.1'], ['::', '::1'], ['::1', '::1']] as const)('bound to %s hears that nobody listens at %s, and what goes elsewhere goes', async (bind, to) => {
    if (!hasIPv6 && bind !== '127.0.0.1') return
    const [a, b] = [await open({ bind: [bind], engine: engine() }), await open({ bind: [to], engine: engine() })]
    expect(a.driver.links()[0]?.features).toContain('icmp')
    const gone = await open({ bind: [to], engine: engine() })
    const { port } = gone.driver
    await gone.driver.close()
    let sent = 0
    for (let i = 0; i < 20; i++) {
      // At once after one that is refused, in the same call and in the next.
      addRow(a, to, port, new Uint8Array(100))
      addRow(a, to, b.driver.port, new Uint8Array(200), 100)
      addRow(a, to, port, new Uint8Array(100))
      a.driver.send(a.batch, () => undefined)
      a.batch.reset(a.slab, SLAB_SIZE)
      addRow(a, to, b.driver.port, new Uint8Array(200), 100)
      sent += 4
      await sendAll(a)
    }
    await until(() => b.host.count === sent && a.host.hints.length > 0)
    const heard = a.host.hints.map(({ hint }) => ({ ...hint, address: formatAddress(hint.address) }))
    expect(new Set(heard.map((one) => JSON.stringify(one)))).toEqual(new Set([JSON.stringify({ address: to.includes(':') ? `[${to}]:${port}` : `${to}:${port}`, reason: 'refused', largest: 0 })]))
    const stats = a.driver.stats()
    expect(stats['udp_icmp_errors']).toBeGreaterThan(0)
    expect(stats['udp_receive_errors']).toBe(0)
    // It goes on hearing, too.
    addRow(b, to, a.driver.port, new Uint8Array(50))
    await sendAll(b)
    await until(() => a.host.count === 1)
  })

  it.skipIf(!hasIPv6)('fragments nothing: what does not fit the link is refused', async () => {
    const whole = new Uint8Array(65_507)
    const b = await open({ bind: ['::1'], engine: engine() })
    const may = await open({ bind: ['::1'], engine: engine(0) })
    addRow(may, '::1', b.driver.port, whole)
    await sendAll(may)
    await until(() => b.host.count === 1)
    const mayNot = await open({ bind: ['::1'], engine: engine() })
    addRow(mayNot, '::1', b.driver.port, whole)
    await sendAll(mayNot)
    expect(mayNot.driver.stats()).toMatchObject({ udp_send_errors_emsgsize: 1, udp_sent_datagrams: 0 })
    await turn()
    expect(mayNot.host.tooLarges).toEqual([{ link: 1, length: 65_507 }])
    expect([may, mayNot].map(({ host }) => host.opens[0]?.dontFragment)).toEqual([false, true])
  })
})

describe('a kernel that takes its time', () => {
  async function played(options: Parameters<typeof openNode>[0] = {}): Promise<{ node: Node; addon: FakeUdpAddon }> {
    const fake = new FakeUdpAddon()
    return { node: await open({ engine: nativeEngine(fake), ...options }), addon: fake }
  }
  const bytes = new Uint8Array(640).fill(7)

  it('rows that found no room go in order when there is some, and only then is done told', async () => {
    const { node, addon: kernel } = await played()
    let done = 0
    kernel.room = 2
    for (let i = 1; i <= 5; i++) addRow(node, '192.0.2.1', 7000 + i, bytes.subarray(0, 100 * i))
    expect(node.driver.send(node.batch, () => done++)).toBe(5)
    expect(kernel.sent.map(({ length }) => length)).toEqual([100, 200])
    expect(node.driver.links()[0]?.unsent).toBe(300 + 400 + 500)
    // The rows are the driver's own copy, only the bytes are lent.
    node.batch.reset(node.slab, SLAB_SIZE)
    node.batch.address.fill(0)
    await turn()
    kernel.writable(1)
    await turn()
    expect([kernel.sent.length, done]).toEqual([3, 0])
    kernel.writable()
    expect(done).toBe(0)
    await turn()
    expect(done).toBe(1)
    expect(kernel.sent.map(({ address, length }) => [address[16]! | (address[17]! << 8), length])).toEqual([1, 2, 3, 4, 5].map((i) => [7000 + i, 100 * i]))
    expect(node.driver.stats()).toMatchObject({ udp_sent_datagrams: 5, udp_sent_bytes: 1500 })
  })

  it('what finds the ring full is lost, counted, and done', async () => {
    const { node, addon: kernel } = await played()
    kernel.room = 0
    let done = 0
    for (let call = 0; call < 9; call++) {
      node.batch.reset(node.slab, SLAB_SIZE)
      for (let i = 0; i < 128; i++) addRow(node, '192.0.2.1', 7000, bytes.subarray(0, 128), 64)
      node.driver.send(node.batch, () => done++)
    }
    await turn()
    expect(done).toBe(1)
    expect(node.driver.stats()).toMatchObject({ udp_send_errors_enobufs: 256 })
    kernel.writable()
    await turn()
    expect(done).toBe(9)
    expect(node.driver.stats()).toMatchObject({ udp_sent_datagrams: 2048 })
  })

  it('gathers what ICMP says, by destination, and tells only what means something', async () => {
    const { node, addon: kernel } = await played()
    const [one, two] = [encodeAddress('192.0.2.1', 7000)!, encodeAddress('192.0.2.2', 7000)!]
    kernel.hinted({ errno: -constants.errno.EHOSTUNREACH, address: one }, { errno: -constants.errno.EMSGSIZE, largest: 1300, address: two })
    kernel.hinted({ errno: -constants.errno.ECONNREFUSED, address: one }, { errno: -constants.errno.EPROTO, address: encodeAddress('192.0.2.3', 7000)! })
    expect(node.host.hints).toEqual([])
    await until(() => node.host.hints.length > 0)
    expect(node.host.hints).toEqual([{ link: 1, hint: { address: one, reason: 'refused', largest: 0 } }, { link: 1, hint: { address: two, reason: 'failed', largest: 1300 } }])
    expect(node.driver.stats()).toMatchObject({ udp_icmp_errors: 4 })
    for (let i = 0; i < 300; i++) kernel.hinted({ errno: -constants.errno.EHOSTUNREACH, address: encodeAddress('192.0.2.1', 8000 + i)! })
    await until(() => node.host.hints.length > 2)
    expect(node.host.hints).toHaveLength(2 + 256)
    kernel.hinted({ errno: -constants.errno.EHOSTUNREACH, address: one })
    await node.driver.close()
    await new Promise((resolve) => setTimeout(resolve, 40))
    expect(node.host.hints).toHaveLength(2 + 256)
  })

  it('is told who could not be reached, once, and counts by code', async () => {
    const { node, addon: kernel } = await played()
    kernel.sendError = -constants.errno.ENETUNREACH
    for (let i = 0; i < 3; i++) addRow(node, '192.0.2.1', 7000, bytes, 64)
    addRow(node, '2001:db8::1', 7001, bytes)
    await sendAll(node)
    await turn()
    expect(node.host.refusals).toEqual([{ link: 1, to: '192.0.2.1:7000' }, { link: 1, to: '[2001:db8::1]:7001' }])
    kernel.sendError = -constants.errno.EMSGSIZE
    addRow(node, '192.0.2.1', 7000, bytes)
    await sendAll(node)
    await turn()
    expect(node.host.refusals).toHaveLength(2)
    expect(node.host.tooLarges).toEqual([{ link: 1, length: 640 }])
    expect(node.driver.stats()).toMatchObject({ udp_send_errors_enetunreach: 31, udp_send_errors_emsgsize: 1, udp_sent_datagrams: 0 })
  })

  it('ECN and TTL go with the row', async () => {
    const { node, addon: kernel } = await played()
    node.batch.ecn[0] = 2
    node.batch.ttl[0] = 5
    addRow(node, '192.0.2.1', 7000, bytes)
    await sendAll(node)
    expect(kernel.sent[0]?.flags).toBe(2 | (5 << 8))
  })

  it('closing: what waits has failed, every done is told, and the socket is closed once', async () => {
    const { node, addon: kernel } = await played()
    kernel.room = 1
    let done = 0
    for (let i = 0; i < 3; i++) addRow(node, '192.0.2.1', 7000, bytes, 64)
    node.driver.send(node.batch, () => done++)
    await node.driver.close()
    await node.driver.close()
    expect([done, kernel.closed]).toEqual([1, 1])
    expect(node.driver.stats()).toMatchObject({ udp_send_errors_ecanceled: 20, udp_sent_datagrams: 10 })
    kernel.received(1)
    kernel.writable()
    kernel.fail(-constants.errno.EBADF)
    expect(node.host.changes.map(({ state }) => state)).toEqual(['closed'])
  })

  it('rows that arrive are handed over at once, and bytes that are none are counted', async () => {
    const { node, addon: kernel } = await played({ batchCapacity: 3 })
    expect(kernel.slabSize).toBe(3 * 65_536)
    const { address, offset, length, segmentSize } = kernel.columns!
    address.fill(9, 0, ADDRESS_SIZE)
    offset[0] = kernel.slabOffset
    length[0] = 250
    segmentSize[0] = 100
    kernel.arena.fill(5, kernel.slabOffset, kernel.slabOffset + 250)
    kernel.received(1, 2)
    expect(node.host.received_.map(({ link, bytes: { length: size } }) => [link, size])).toEqual([[1, 100], [1, 100], [1, 50]])
    expect(node.driver.stats()).toMatchObject({ udp_received_datagrams: 3, udp_received_bytes: 250, udp_received_empty: 2 })
    kernel.received(0, 1)
    expect(node.host.rowCounts).toEqual([1])
  })
})
