import { afterEach, describe, expect, it } from 'vitest'
import type { LinkId } from '../../src/core/endpoint/contract.ts'
import { ScratchPool, TcpOutbox } from '../../src/net/tcp-outbox.ts'
import type { TcpOptions } from '../../src/net/tcp.ts'
import { openNode, pattern, playedLink, PlayedSocket, record, type TcpNode } from './tcp-support.ts'
import { turn } from './udp-support.ts'

const closers: (() => Promise<void>)[] = []

async function open(options: Partial<TcpOptions> = {}): Promise<TcpNode> {
  const node = await openNode(options)
  closers.push(() => node.close())
  return node
}

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

describe('a kernel that takes its time', () => {
  it('the slab is free at once: what waits is a copy', async () => {
    const node = await open()
    const { socket, link } = await playedLink(node)
    socket.roomy = false
    let done = 0
    node.add(link, pattern(64 * 1000, 1), 1000)
    node.add(link, pattern(50, 2))
    node.hand(() => done++)
    expect(socket.waiting).toHaveLength(1)
    expect(done).toBe(0)
    await turn()
    expect(done).toBe(1)
    node.host.arena.bytes.fill(0, node.slab, node.slab + 100_000)
    node.add(link, pattern(64 * 100, 3), 100)
    node.hand(() => done++)
    node.host.arena.bytes.fill(0, node.slab, node.slab + 100_000)
    while (socket.waiting.length > 0) {
      socket.takeOne()
      await turn()
    }
    const cut = (bytes: Uint8Array, size: number): Uint8Array[] => Array.from({ length: bytes.length / size }, (_, i) => record(bytes.subarray(i * size, (i + 1) * size)))
    expect(Buffer.concat(socket.taken)).toEqual(Buffer.concat([...cut(pattern(64 * 1000, 1), 1000), record(pattern(50, 2)), ...cut(pattern(64 * 100, 3), 100)]))
    expect(done).toBe(2)
  })

  it('one connection that waits holds up neither another nor the batch', async () => {
    const node = await open()
    const [slow, quick] = [await playedLink(node), await playedLink(node)]
    slow.socket.roomy = false
    for (let i = 0; i < 20; i++) {
      node.add(slow.link, pattern(1000, i))
      node.add(quick.link, pattern(500, i))
      expect(await node.send()).toBe(2)
    }
    expect(Buffer.concat(quick.socket.taken)).toHaveLength(20 * 502)
    expect(slow.socket.waiting).toHaveLength(1)
    const unsent = new Map(node.driver.links().map((open) => [open.id, open.unsent]))
    expect([unsent.get(slow.link), unsent.get(quick.link)]).toEqual([20 * 1002, 0])
  })

  it('blocked at the bound, writable below a quarter, each once, never from inside send', async () => {
    const node = await open({ unsentMax: 10_000 })
    const { socket, link } = await playedLink(node)
    socket.roomy = false
    const states = (): string[] => node.host.changes.map(({ state }) => state)
    const send = (): number => {
      node.add(link, pattern(998, 1))
      return node.hand()
    }
    for (let i = 0; i < 9; i++) send()
    await turn()
    expect(states()).toEqual([])
    // More is taken: the host does not know yet.
    for (let i = 0; i < 4; i++) expect(send()).toBe(1)
    await turn()
    expect(states()).toEqual(['blocked'])
    expect(node.driver.links()[0]!.unsent).toBe(13_000)
    socket.takeOne() // the first thousand went alone
    await turn()
    expect(node.driver.links()[0]!.unsent).toBe(12_000)
    expect(states()).toEqual(['blocked'])
    socket.takeOne() // the rest was joined
    expect(states()).toEqual(['blocked'])
    await turn()
    expect(states()).toEqual(['blocked', 'writable'])
    expect(node.driver.stats()).toMatchObject({ tcp_blocked: 1, tcp_overflow_datagrams: 0 })
  })

  it('holds at most three times the bound, whatever the host sends', async () => {
    const node = await open({ unsentMax: 10_000 })
    const { socket, link } = await playedLink(node)
    socket.roomy = false
    for (let i = 0; i < 100; i++) {
      node.add(link, pattern(998, i))
      expect(node.hand()).toBe(1)
    }
    expect(node.driver.links()[0]!.unsent).toBe(30_000)
    expect(node.driver.stats()).toMatchObject({ tcp_sent_datagrams: 30, tcp_overflow_datagrams: 70 })
    socket.roomy = true
    socket.takeOne()
    await turn()
    expect(Buffer.concat(socket.taken)).toEqual(Buffer.concat(Array.from({ length: 30 }, (_, i) => record(pattern(998, i)))))
  })

  it('any progress renews the 15 s of a slow reader', async () => {
    const node = await open()
    const { socket, link } = await playedLink(node)
    socket.roomy = false
    for (let i = 0; i < 8; i++) {
      node.add(link, pattern(16_000, i))
      node.hand()
    }
    for (let i = 0; i < 5; i++) {
      await node.system.advance(14_999)
      socket.takeOne()
      await turn()
      expect(node.host.ends(link)).toEqual([])
    }
    await node.system.advance(15_000)
    expect(node.host.ends(link)).toEqual(['failed'])
    expect(node.host.cause(link)?.code).toBe('slow_reader')
    expect(socket.wasReset).toBe(true)
  })

  it('a close sends FIN only after the last byte was taken', async () => {
    const node = await open()
    const { socket, link } = await playedLink(node)
    socket.roomy = false
    for (let i = 0; i < 3; i++) {
      node.add(link, pattern(12_000, i))
      node.hand()
    }
    node.quietly((driver) => driver.closeLink(link))
    for (let i = 0; i < 3; i++) {
      await turn()
      expect(socket.finished).toBe(false)
      socket.takeOne()
    }
    await turn()
    expect(socket.finished).toBe(true)
    expect(node.host.ends(link)).toEqual([])
    socket.push(null)
    await turn()
    await turn()
    expect(node.host.changes).toEqual([{ link, state: 'closed', cause: undefined }])
    expect(socket.wasReset).toBe(false)
    expect(node.stat('tcp_unsent_lost_bytes')).toBe(0)
  })

  it('a driver that closes while the kernel takes nothing waits for the linger and calls every done', async () => {
    const node = await openNode()
    const { socket, link } = await playedLink(node)
    socket.roomy = false
    let done = 0
    node.add(link, pattern(12_000, 1))
    node.hand(() => done++)
    const closing = node.driver.close()
    await turn()
    expect(done).toBe(1)
    expect(node.host.ends(link)).toEqual([])
    await node.system.advance(1_000)
    await closing
    expect(node.host.ends(link)).toEqual(['closed'])
    expect(node.system.timers.size).toBe(0)
  })
})

describe('outbox', () => {
  it('whatever the kernel takes and when: the bytes are those written, in order, and every scratch comes back once', async () => {
    let seed = 7
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((seed / 2 ** 32) * below)
    }
    const pool = new ScratchPool(20_000)
    const lent = new Set<Buffer>()
    const give = pool.give.bind(pool)
    pool.give = (scratch): void => {
      expect(lent.delete(scratch)).toBe(true)
      give(scratch)
    }
    const socket = new PlayedSocket()
    const outbox = new TcpOutbox(socket.asSocket, pool, () => undefined)
    let written = 0
    let scratch = pool.take()
    for (let round = 0; round < 4_000; round++) {
      socket.roomy = random(3) === 0
      switch (random(3)) {
        case 0:
        case 1: {
          const length = 1 + random(random(2) === 0 ? 200 : 20_000)
          if (outbox.unsent > 60_000) break
          for (let i = 0; i < length; i++) scratch[i] = (written + i) % 251
          written += length
          if (outbox.write(scratch, length)) {
            lent.add(scratch)
            scratch = pool.take()
            expect(lent.has(scratch)).toBe(false)
          }
          break
        }
        default:
          if (socket.waiting.length > 0) socket.takeOne()
          if (random(2) === 0) await Promise.resolve()
          else await turn()
      }
    }
    socket.roomy = true
    while (socket.waiting.length > 0) {
      socket.takeOne()
      await turn()
    }
    await turn()
    const stream = Buffer.concat(socket.taken)
    expect(stream).toHaveLength(written)
    for (let i = 0; i < written; i++) if (stream[i] !== i % 251) throw new Error(`byte ${i} is wrong`)
    expect(outbox.unsent).toBe(0)
    expect(lent.size).toBe(0)
    socket.destroy()
  })
})

describe('ends', () => {
  it.each([
    ['ECONNRESET', 'disconnected', 'reset'], ['EPIPE', 'disconnected', 'reset'], ['ETIMEDOUT', 'timeout', 'timed_out'], ['EHOSTUNREACH', 'unreachable', 'unreachable'],
    ['ENETUNREACH', 'unreachable', 'unreachable'], ['ENETDOWN', 'unreachable', 'unreachable'], ['EMULTIHOP', 'disconnected', 'other'],
  ])('%s is told at once, as %s', async (code, expected, counter) => {
    const node = await open()
    const { socket, link } = await playedLink(node)
    socket.destroy(Object.assign(new Error(code), { code }))
    // Node emits the error after this tick, the driver tells it in the next check phase.
    await turn()
    await turn()
    expect(node.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([['failed', expected]])
    expect(node.host.cause(link)?.cause).toMatchObject({ code })
    expect(node.stat(`tcp_end_${counter}`)).toBe(1)
    // Late events of the old socket disturb nobody.
    socket.emit('error', new Error('late'))
    socket.emit('end')
    socket.emit('close')
    await turn()
    expect(node.host.changes).toHaveLength(1)
  })

  it('datagrams that came before an end are told before it', async () => {
    const node = await open()
    const { socket, link } = await playedLink(node)
    const order: string[] = []
    node.host.onReceived = (batch) => void order.push(`${batch.count} datagrams`)
    node.host.onChanged = (_link: LinkId, state) => void order.push(state)
    socket.push(Buffer.concat([record(pattern(100, 1)), record(pattern(100, 2))]))
    socket.push(null)
    await turn()
    await turn()
    expect(order).toEqual(['2 datagrams', 'closed'])
    expect(node.host.ends(link)).toEqual(['closed'])
  })
})
