import { afterEach, describe, expect, it } from 'vitest'
import { portOf } from '../../src/core/base/address.ts'
import type { LinkId } from '../../src/core/endpoint/contract.ts'
import type { TcpOptions } from '../../src/net/tcp.ts'
import { link, openNode, pattern, PREFACE, rawDial, rawListen, record, settle, type Raw, type TcpNode } from './tcp-support.ts'
import { turn, until } from './udp-support.ts'

const closers: (() => Promise<void>)[] = []
const ONE = 1 as LinkId

async function open(options: Partial<TcpOptions> = {}): Promise<TcpNode> {
  const node = await openNode(options)
  closers.push(() => node.close())
  return node
}

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

/** A node and the raw other side of one connection to it, before any byte was sent; `mine` is what the node's role makes it send first. */
interface Meeting {
  readonly node: TcpNode
  readonly raw: Raw
}

type Role = 'acceptor' | 'dialer'
const roles: readonly Role[] = ['acceptor', 'dialer']

async function meet(role: Role): Promise<Meeting> {
  const node = await open()
  if (role === 'acceptor') return { node, raw: await rawDial(node) }
  const server = await rawListen()
  closers.push(() => server.close())
  node.driver.dial(server.address, 1)
  await until(() => server.accepted.length === 1)
  await until(() => server.accepted[0]!.received.length === 4)
  return { node, raw: server.accepted[0]! }
}

/** Both prefaces exchanged, link 1 open and confirmed. */
async function meetOpen(role: Role): Promise<Meeting> {
  const meeting = await meet(role)
  await meeting.raw.write(PREFACE)
  await until(() => meeting.node.host.opens.length === 1)
  meeting.node.driver.confirm(ONE)
  return meeting
}

interface Step {
  readonly name: string
  /** What the other side writes after its preface; `undefined`: it stops within the preface, after so many bytes. */
  readonly after: Uint8Array | number
  readonly datagrams: number
  /** Where its FIN is no orderly end. */
  readonly inside: boolean
}

const framed = record(pattern(200, 1))
const steps: readonly Step[] = [
  ...[0, 1, 2, 3].map((count): Step => ({ name: `after ${count} bytes of the preface`, after: count, datagrams: 0, inside: true })),
  { name: 'after the preface', after: new Uint8Array(0), datagrams: 0, inside: false },
  { name: 'after one byte of a header', after: framed.slice(0, 1), datagrams: 0, inside: true },
  { name: 'after a header', after: framed.slice(0, 2), datagrams: 0, inside: true },
  { name: 'inside a record', after: framed.slice(0, 100), datagrams: 0, inside: true },
  { name: 'before the last byte of a record', after: framed.slice(0, -1), datagrams: 0, inside: true },
  { name: 'after a record', after: framed, datagrams: 1, inside: false },
  { name: 'inside the second record', after: Buffer.concat([framed, framed.subarray(0, 3)]), datagrams: 1, inside: true },
  { name: 'after a hundred records', after: Buffer.concat(new Array<Uint8Array>(100).fill(framed)), datagrams: 100, inside: false },
]

/** Brings a connection to a step; the node has read all of it. */
async function reach(role: Role, step: Step, alsoSend: boolean): Promise<Meeting> {
  const { node, raw } = await meet(role)
  if (typeof step.after === 'number') {
    await raw.write(PREFACE.subarray(0, step.after))
    await settle()
    return { node, raw }
  }
  await raw.write(PREFACE)
  await until(() => node.host.opens.length === 1)
  node.driver.confirm(ONE)
  await raw.write(step.after)
  // libuv tells a RST that comes together with the last bytes as an end.
  await settle()
  expect(node.host.count).toBe(step.datagrams)
  if (alsoSend) {
    node.add(1, pattern(64 * 1000, 1), 1000)
    await node.send()
  }
  return { node, raw }
}

for (const role of roles) {
  describe(`the other side goes away, node as ${role}`, () => {
    for (const step of steps) {
      it(`RST ${step.name}`, async () => {
        const { node, raw } = await reach(role, step, step.datagrams > 0)
        raw.reset()
        await until(() => node.alive === 0)
        await turn()
        if (typeof step.after !== 'number') {
          expect(node.host.changes).toEqual([{ link: 1, state: 'failed', cause: expect.objectContaining({ code: 'disconnected', cause: expect.objectContaining({ code: 'ECONNRESET' }) as unknown }) as unknown }])
          node.add(1, pattern(100, 1))
          expect(await node.send()).toBe(0)
        } else {
          expect(node.host.changes).toEqual([])
          expect(node.host.dialFailures.map(({ token, cause }) => [token, cause.code])).toEqual(role === 'dialer' ? [[1, 'disconnected']] : [])
        }
        expect(node.host.count).toBe(step.datagrams)
        expect(node.stat('tcp_end_reset')).toBe(1)
      })

      it(`FIN ${step.name}, its own direction only`, async () => {
        const { node, raw } = await reach(role, step, step.datagrams > 0)
        raw.socket.end()
        await until(() => node.alive === 0)
        await turn()
        if (typeof step.after !== 'number') {
          expect(node.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([[step.inside ? 'failed' : 'closed', 'disconnected']])
          expect(node.stat(step.inside ? 'tcp_end_inside_record' : 'tcp_end_peer_closed')).toBe(1)
        } else {
          expect(node.host.changes).toEqual([])
          expect(node.host.dialFailures.map(({ cause }) => cause.code)).toEqual(role === 'dialer' ? ['refused'] : [])
        }
        expect(node.host.count).toBe(step.datagrams)
        // Half a connection is none: ours is closed too.
        await until(() => raw.closed)
      })
    }
  })

  describe(`bad bytes, node as ${role}`, () => {
    const garbage: readonly (readonly [string, Uint8Array])[] = [
      ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')], ['TLS', Uint8Array.of(0x16, 0x03, 0x01, 0x02, 0x00)], ['zeros', new Uint8Array(70_000)],
      ['another version', Uint8Array.of(0x50, 0x53, 0x54, 0x02)], ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.6\r\n')], ['one byte', Uint8Array.of(0x51)],
    ]
    it.each(garbage)('%s in place of the preface: closed without a byte', async (_name, bytes) => {
      const { node, raw } = await meet(role)
      const before = raw.received.length
      await raw.write(bytes)
      await until(() => raw.closed)
      expect(raw.received).toHaveLength(before)
      await until(() => node.alive === 0)
      await turn()
      expect(node.host.opens).toEqual([])
      expect(node.stat('tcp_end_bad_preface')).toBe(1)
      expect(node.host.dialFailures.map(({ cause }) => cause.code)).toEqual(role === 'dialer' ? ['protocol'] : [])
    })

    it.each([0, 1, 19, 16_350, 65_535])('a record of %d bytes: what came before it counts, then the link is gone', async (length) => {
      const { node, raw } = await meetOpen(role)
      await raw.write(framed, framed, Uint8Array.of(length & 0xff, length >>> 8), new Uint8Array(50))
      await until(() => node.alive === 0)
      await turn()
      expect(node.host.count).toBe(2)
      expect(node.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([['failed', 'protocol']])
      expect(node.stat('tcp_end_bad_length')).toBe(1)
      await until(() => raw.closed)
    })
  })

  describe(`time, node as ${role}`, () => {
    it('the preface has 5 s, from the accept or the connect', async () => {
      const { node, raw } = await meet(role)
      for (const byte of PREFACE.subarray(0, 3)) {
        await raw.write(Uint8Array.of(byte))
        await turn()
        await node.system.advance(1_500)
      }
      expect(node.alive).toBe(1)
      await node.system.advance(500)
      expect(node.alive).toBe(0)
      expect(node.stat('tcp_end_preface_timeout')).toBe(1)
      expect(node.host.dialFailures.map(({ cause }) => cause.code)).toEqual(role === 'dialer' ? ['timeout'] : [])
      await until(() => raw.closed)
      expect(raw.received).toHaveLength(role === 'dialer' ? 4 : 0)
    })

    it('a link that nobody confirms has 10 s, however busy it is', async () => {
      const { node, raw } = await meet(role)
      await node.system.advance(role === 'acceptor' ? 4_000 : 0)
      await raw.write(PREFACE)
      await until(() => node.host.opens.length === 1)
      for (let second = role === 'acceptor' ? 5 : 1; second < 10; second++) {
        await node.system.advance(1_000)
        const { count } = node.host
        await raw.write(framed)
        await until(() => node.host.count > count)
      }
      await node.system.advance(999)
      expect(node.host.changes).toEqual([])
      await node.system.advance(1)
      expect(node.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([['failed', 'timeout']])
      expect(node.stat('tcp_end_confirm_timeout')).toBe(1)
    })

    it('a confirmed link may be silent for ever', async () => {
      const { node, raw } = await meetOpen(role)
      await node.system.advance(24 * 3_600_000)
      expect(node.host.changes).toEqual([])
      await raw.write(framed)
      await until(() => node.host.count === 1)
    })

    it('one byte per second: a record has 10 s and a second for each 4 KiB of it', async () => {
      for (const [length, seconds] of [[20, 10.005], [4096, 11], [16_349, 13.992]] as const) {
        const { node, raw } = await meetOpen(role)
        // A whole record first: the time begins with the next one.
        await raw.write(framed)
        await until(() => node.host.count === 1)
        await node.system.advance(60_000)
        const stream = record(pattern(length, 1))
        let elapsed = 0
        for (let i = 0; node.alive > 0; i++) {
          const read = raw.socket.bytesWritten
          await raw.write(stream.subarray(i, i + 1))
          expect(raw.socket.bytesWritten).toBe(read + 1)
          await settle()
          await node.system.advance(1_000)
          elapsed++
          if (elapsed > 20) throw new Error('it lasts longer than it may')
        }
        expect(elapsed).toBe(Math.ceil(seconds))
        expect(node.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([['failed', 'timeout']])
        expect(node.stat('tcp_end_record_timeout')).toBe(1)
      }
    })

    it('a record that is in time is none the worse for it, and one begun in its last piece has its own time', async () => {
      const { node, raw } = await meetOpen(role)
      const bytes = pattern(4096, 1)
      const stream = Buffer.concat([record(bytes), record(bytes), record(bytes)])
      const piece = 4098 * 0.7
      for (let at = 0; at < stream.length; at += piece) {
        await raw.write(stream.subarray(at, at + piece))
        await settle()
        await node.system.advance(5_400)
      }
      await until(() => node.host.count === 3)
      expect(node.host.received_.map(({ bytes: received }) => received)).toEqual([bytes, bytes, bytes])
      expect(node.host.changes).toEqual([])
    })

    it('time that the host has paused a link does not count against a record', async () => {
      const { node, raw } = await meetOpen(role)
      await raw.write(framed.subarray(0, 50))
      await settle()
      node.driver.pause(ONE)
      await node.system.advance(60_000)
      expect(node.host.changes).toEqual([])
      await raw.write(framed.subarray(50))
      node.driver.resume(ONE)
      await until(() => node.host.count === 1)
    })

    it('a reader that takes nothing for 15 s is given up, one that had stopped only for a while is not', async () => {
      const { node, raw } = await meetOpen(role)
      raw.socket.pause()
      let done = 0
      let calls = 0
      const fill = async (): Promise<void> => {
        while (node.driver.links()[0]!.unsent < 65_536) {
          node.add(1, pattern(64 * 1400, calls), 1400)
          node.hand(() => done++)
          calls++
          await turn()
        }
      }
      await fill()
      await until(() => node.host.changes.length === 1)
      await node.system.advance(14_000)
      expect(node.host.changes.map(({ state }) => state)).toEqual(['blocked'])
      // It reads a while, and stops again.
      raw.socket.resume()
      await until(() => node.driver.links()[0]!.unsent === 0)
      raw.socket.pause()
      await node.system.advance(60_000)
      expect(node.host.changes.map(({ state }) => state)).toEqual(['blocked', 'writable'])
      await fill()
      await node.system.advance(14_999)
      expect(node.host.ends(1)).toEqual([])
      await node.system.advance(1)
      expect(node.host.changes.map(({ state, cause }) => [state, cause?.code])).toEqual([['blocked', undefined], ['writable', undefined], ['blocked', undefined], ['failed', 'slow_reader']])
      expect(done).toBe(calls)
      expect(node.stat('tcp_unsent_lost_bytes')).toBeGreaterThan(0)
      expect(node.alive).toBe(0)
      raw.socket.resume()
      await until(() => raw.closed || raw.ended)
    })

    it('a close with data queued for a reader that does not read ends after the linger, as closed, and says so', async () => {
      const { node, raw } = await meetOpen(role)
      raw.socket.pause()
      for (let i = 0; node.host.changes.length === 0; i++) {
        node.add(1, pattern(64 * 1400, i), 1400)
        await node.send()
      }
      node.driver.closeLink(ONE)
      await node.system.advance(999)
      expect(node.host.ends(1)).toEqual([])
      await node.system.advance(1)
      expect(node.host.ends(1)).toEqual(['closed'])
      expect(node.host.cause(1)?.code).toBe('timeout')
      expect(node.stat('tcp_end_undelivered')).toBe(1)
    })

    it('a close waits no longer than the linger for their FIN either', async () => {
      const { node, raw } = await meetOpen(role)
      node.add(1, pattern(100, 1))
      await node.send()
      node.driver.closeLink(ONE)
      await until(() => raw.ended)
      expect(raw.received.length).toBe(4 + 102)
      // They go on sending, to nobody.
      await raw.write(framed, framed)
      await turn()
      expect(node.host.ends(1)).toEqual([])
      await node.system.advance(1_000)
      expect(node.host.changes).toEqual([{ link: 1, state: 'closed', cause: undefined }])
      expect(node.host.count).toBe(0)
    })
  })
}

describe('sending into what has gone', () => {
  it('rows after the other side has reset are taken until that is known, and never harm', async () => {
    const { node, raw } = await meetOpen('acceptor')
    let done = 0
    raw.reset()
    for (let i = 0; i < 5; i++) {
      node.add(1, pattern(64 * 1000, i), 1000)
      node.hand(() => done++)
    }
    await until(() => node.host.ends(1).length === 1)
    node.add(1, pattern(100, 1))
    expect(node.hand(() => done++)).toBe(0)
    await until(() => done === 6)
    expect(node.host.ends(1)).toEqual(['failed'])
  })

  it('what a host sends although it was told to wait is dropped beyond the bound, record by record, and what is sent is whole', async () => {
    const { node, raw } = await meetOpen('acceptor')
    raw.socket.pause()
    for (let i = 0; i < 200; i++) {
      node.add(1, pattern(64 * 1400, i), 1400)
      node.hand()
      expect(node.driver.links()[0]!.unsent).toBeLessThanOrEqual(3 * 65_536)
      if (i % 10 === 0) await turn()
    }
    expect(node.stat('tcp_overflow_datagrams')).toBeGreaterThan(0)
    expect(node.stat('tcp_sent_datagrams') + node.stat('tcp_overflow_datagrams')).toBe(200 * 64)
    raw.socket.resume()
    const expected = 4 + node.stat('tcp_sent_datagrams') * 1402
    await until(() => raw.chunks.reduce((sum, { length }) => sum + length, 0) === expected)
    const stream = raw.received
    for (let at = 4; at < stream.length; at += 1402) expect(stream.readUInt16LE(at)).toBe(1400)
    await until(() => node.host.changes.length === 2)
    expect(node.host.changes.map(({ state }) => state)).toEqual(['blocked', 'writable'])
    expect(node.driver.links()[0]!.unsent).toBe(0)
  })

  it('small bursts that wait are joined, in order', async () => {
    const { node, raw } = await meetOpen('acceptor')
    raw.socket.pause()
    while (node.driver.links()[0]!.unsent === 0) {
      node.add(1, pattern(64 * 1400, 0), 1400)
      await node.send()
    }
    const before = node.stat('tcp_sent_bytes') + 2 * node.stat('tcp_sent_datagrams')
    for (let i = 0; i < 500; i++) {
      node.add(1, pattern(60, i))
      node.hand()
    }
    raw.socket.resume()
    await until(() => raw.chunks.reduce((sum, { length }) => sum + length, 0) === 4 + before + 500 * 62)
    const tail = raw.received.subarray(4 + before)
    for (let i = 0; i < 500; i++) expect(tail.subarray(i * 62, i * 62 + 62).equals(record(pattern(60, i)))).toBe(true)
  })
})

describe('both of our own', () => {
  it('a link that fails on one side is told on both, and leaves the others alone', async () => {
    const [a, b] = [await open(), await open()]
    const first = await link(a, b, 1)
    const second = await link(a, b, 2)
    await a.system.advance(1)
    a.driver.closeLink(first.a)
    await until(() => a.host.ends(first.a).length === 1 && b.host.ends(first.b).length === 1)
    a.add(second.a, pattern(500, 1))
    await a.send()
    await until(() => b.host.count === 1)
    expect(b.host.received_[0]).toMatchObject({ link: second.b })
    expect(portOf(b.host.opens[0]!.remote!)).not.toBe(portOf(b.host.opens[1]!.remote!))
  })
})
