import type { SocketOptions } from 'node:dgram'
import { describe, expect, it } from 'vitest'
import { PosternError } from '../../src/core/base/errors.ts'
import type { UdpSystem } from '../../src/net/udp-system.ts'
import { addRow, FakeSocket, makeNode, openNode, SLAB_SIZE, turn, until } from './udp-support.ts'

/** A machine whose sockets are the given ones, in this order. */
function machine(sockets: readonly FakeSocket[], mapsIPv4: 'yes' | 'no' | 'unknown' = 'yes'): UdpSystem & { readonly asked: SocketOptions[] } {
  const asked: SocketOptions[] = []
  return {
    asked,
    createSocket: (options) => {
      asked.push(options)
      return sockets[asked.length - 1]!.asSocket
    },
    mapsIPv4: () => mapsIPv4,
    kernelDrops: () => undefined,
  }
}

function failing(code: string): FakeSocket {
  const socket = new FakeSocket()
  socket.bindError = code
  return socket
}

const bytes = new Uint8Array(640).fill(7)

describe('a kernel that takes its time', () => {
  it('keeps the slab until the last callback came', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]) })
    let done = 0
    addRow(node, '192.0.2.1', 7000, bytes, 64)
    addRow(node, '2001:db8::1', 7001, bytes, 640)
    expect(node.driver.send(node.batch, () => done++)).toBe(2)
    expect(socket.sends.map(({ host, port, bytes: { length } }) => [host, port, length])).toEqual([
      ...new Array<unknown>(10).fill(['::ffff:192.0.2.1', 7000, 64]), ['2001:db8::1', 7001, 640],
    ])
    // No copies: what is sent is the slab itself.
    expect(socket.sends.every(({ bytes: { buffer } }) => buffer === node.host.arena.bytes.buffer)).toBe(true)
    for (let left = 11; left > 0; left--) {
      await turn()
      expect(done).toBe(0)
      socket.complete(1)
    }
    // Not from inside the completion either.
    expect(done).toBe(0)
    await turn()
    expect(done).toBe(1)
    await node.driver.close()
  })

  it('tells done in the order of completion, one each', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]) })
    const done: number[] = []
    for (let i = 0; i < 4; i++) {
      node.batch.reset(node.slab, SLAB_SIZE)
      addRow(node, '192.0.2.1', 7000, bytes, 640)
      node.driver.send(node.batch, () => done.push(i))
    }
    const [first, second, third, fourth] = socket.sends.splice(0)
    second?.sent(null, 640)
    await turn()
    fourth?.sent(null, 640)
    first?.sent(null, 640)
    await turn()
    third?.sent(null, 640)
    await turn()
    expect(done).toEqual([1, 3, 0, 2])
    await node.driver.close()
  })

  it('reports blocked at the bound of unsent bytes and writable below a quarter', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]), unsentMax: 6400 })
    let done = 0
    const send = (): void => {
      node.batch.reset(node.slab, SLAB_SIZE)
      addRow(node, '192.0.2.1', 7000, bytes, 640)
      node.host.inCall = true
      node.driver.send(node.batch, () => done++)
      node.host.inCall = false
    }
    for (let i = 0; i < 9; i++) send()
    await turn()
    expect(node.host.changes).toEqual([])
    for (let i = 0; i < 3; i++) send()
    expect(node.driver.links()[0]?.unsent).toBe(12 * 640)
    await turn()
    expect(node.host.changes.map(({ state }) => state)).toEqual(['blocked'])
    socket.complete(9)
    await turn()
    expect(node.host.changes.map(({ state }) => state)).toEqual(['blocked'])
    socket.complete(1)
    await turn()
    expect(node.host.changes.map(({ state }) => state)).toEqual(['blocked', 'writable'])
    expect(done).toBe(10)
    expect(node.driver.stats()).toMatchObject({ udp_blocked: 1 })
    await node.driver.close()
    expect(done).toBe(12)
  })

  it('calls every done when it closes, even for callbacks that never come, and none twice', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]) })
    let done = 0
    addRow(node, '192.0.2.1', 7000, bytes, 64)
    node.driver.send(node.batch, () => done++)
    socket.complete(3)
    await node.driver.close()
    expect(done).toBe(1)
    socket.complete(7, 'ECANCELED')
    await turn()
    expect(done).toBe(1)
  })
})

describe('errors', () => {
  it('counts failed sends by code, unknown codes together', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]) })
    let done = 0
    const codes = ['EMSGSIZE', 'ENOBUFS', 'EAGAIN', 'ECONNREFUSED', 'ENETUNREACH', 'EPERM', 'EBADMSG', 'EMULTIHOP', 'EMSGSIZE', undefined]
    addRow(node, '192.0.2.1', 7000, bytes, 64)
    node.driver.send(node.batch, () => done++)
    for (const code of codes) socket.complete(1, code)
    await turn()
    expect(done).toBe(1)
    expect(node.driver.stats()).toMatchObject({
      udp_send_errors_emsgsize: 2, udp_send_errors_enobufs: 1, udp_send_errors_eagain: 1, udp_send_errors_econnrefused: 1,
      udp_send_errors_enetunreach: 1, udp_send_errors_eperm: 1, udp_send_errors_other: 2, udp_sent_datagrams: 1, udp_sent_bytes: 64,
    })
    expect(node.host.changes).toEqual([])
    await node.driver.close()
  })

  it('a socket error that passes is counted; one that does not fails the link, which start opens again', async () => {
    const [first, second] = [new FakeSocket(), new FakeSocket()]
    const node = await openNode({ system: machine([first, second]) })
    for (let i = 0; i < 900; i++) first.emit('error', Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
    await turn()
    expect(node.host.changes).toEqual([])
    let done = 0
    addRow(node, '192.0.2.1', 7000, bytes)
    node.driver.send(node.batch, () => done++)
    first.emit('error', Object.assign(new Error('gone'), { code: 'EBADF' }))
    expect(node.host.changes).toEqual([])
    await until(() => node.host.changes.length === 1)
    expect(node.host.changes[0]).toMatchObject({ link: 1, state: 'failed' })
    expect(node.host.changes[0]?.cause).toBeInstanceOf(PosternError)
    expect(node.host.changes[0]?.cause?.message).toContain('EBADF')
    expect(done).toBe(1)
    expect(first.closed).toBe(true)
    expect(node.driver.links()).toEqual([])
    // A late error of the old socket disturbs nobody.
    first.emit('error', new Error('late'))
    await node.driver.start()
    expect(second.port).toBe(first.port)
    expect(node.host.opens).toHaveLength(2)
    expect(node.driver.stats()).toMatchObject({ udp_failed: 1, udp_receive_errors: 901 })
    await node.driver.close()
  })

  it('passing errors with nothing between are a failure in the end', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]) })
    for (let i = 0; i < 1000; i++) socket.emit('error', Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
    await until(() => node.host.changes.length === 1)
    expect(node.host.changes[0]?.state).toBe('failed')
    await node.driver.close()
  })

  it('drops a datagram whose source it cannot read, counted', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]) })
    socket.emit('message', bytes, { address: 'not an address', port: 1 })
    socket.emit('message', bytes, { address: 'fe80::1%eth0', port: 7 })
    await turn()
    expect(node.host.received_.map(({ from }) => from)).toEqual(['[fe80::1]:7'])
    expect(node.driver.stats()).toMatchObject({ udp_received_unreadable_source: 1 })
    // The answer needs the zone that the 18 bytes have no room for.
    addRow(node, 'fe80::1', 7, bytes)
    node.driver.send(node.batch, () => undefined)
    expect(socket.sends[0]?.host).toBe('fe80::1%eth0')
    await node.driver.close()
  })
})

describe('opening', () => {
  it.each(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT'])('falls back to IPv4 where IPv6 is off (%s)', async (code) => {
    const system = machine([failing(code), new FakeSocket('0.0.0.0')])
    const node = await openNode({ system })
    expect(system.asked.map(({ type }) => type)).toEqual(['udp6', 'udp4'])
    addRow(node, '192.0.2.1', 7000, bytes)
    expect(node.driver.send(node.batch, () => undefined)).toBe(1)
    expect([...node.host.opens[0]!.local.subarray(10, 16)]).toEqual([0xff, 0xff, 0, 0, 0, 0])
    await node.driver.close()
  })

  it('opens a second socket where "::" takes IPv6 only, on the same port', async () => {
    const [six, four] = [new FakeSocket(), new FakeSocket('0.0.0.0')]
    const node = await openNode({ system: machine([six, four], 'no') })
    expect(node.host.opens.map(({ dualStack }) => dualStack)).toEqual([false, false])
    expect(four.port).toBe(six.port)
    addRow(node, '2001:db8::1', 7000, bytes, 640, 1)
    addRow(node, '192.0.2.1', 7000, bytes, 640, 2)
    expect(node.driver.send(node.batch, () => undefined)).toBe(2)
    expect(six.sends.map(({ host }) => host)).toEqual(['2001:db8::1'])
    expect(four.sends.map(({ host }) => host)).toEqual(['192.0.2.1'])
    await node.driver.close()
    expect(node.host.changes.map(({ state }) => state)).toEqual(['closed', 'closed'])
  })

  it('takes a taken port on 0.0.0.0 as proof of dual stack where it is not known', async () => {
    const node = await openNode({ system: machine([new FakeSocket(), failing('EADDRINUSE')], 'unknown') })
    expect(node.host.opens.map(({ dualStack }) => dualStack)).toEqual([true])
    await node.driver.close()
  })

  it('draws another port when the drawn one is taken on the second socket, and gives up in the end', async () => {
    const lucky = [new FakeSocket(), failing('EADDRINUSE'), new FakeSocket(), new FakeSocket('0.0.0.0')]
    const node = await openNode({ system: machine(lucky, 'no') })
    expect(lucky[0]?.closed).toBe(true)
    expect(node.driver.links()).toHaveLength(2)
    await node.driver.close()

    const unlucky = Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? new FakeSocket() : failing('EADDRINUSE')))
    const never = makeNode({ system: machine(unlucky, 'no') })
    await expect(never.driver.start()).rejects.toMatchObject({ code: 'port_in_use' })
    expect(unlucky.filter(({ bindError }) => bindError === undefined).every(({ closed }) => closed)).toBe(true)
    await never.driver.close()
  })

  it.each([
    ['EACCES', 'permission'], ['EPERM', 'permission'], ['EADDRINUSE', 'port_in_use'], ['EMFILE', 'start'],
  ] as const)('explains %s as %s with something to do', async (code, expected) => {
    const node = makeNode({ port: 80, bind: ['0.0.0.0'], system: machine([failing(code)]) })
    const error = await node.driver.start().then(() => undefined, (reason: unknown) => reason)
    expect(error).toBeInstanceOf(PosternError)
    expect(error).toMatchObject({ code: expected, cause: { code } })
    expect((error as PosternError).hint).toBeTruthy()
    await node.driver.close()
  })

  it('asks for smaller buffers until the kernel agrees, and reports what it really gave', async () => {
    const socket = new FakeSocket()
    const node = await openNode({ system: machine([socket]) })
    expect(socket.receiveBuffer).toBe(1 << 20)
    const half = process.platform === 'linux' ? 2 : 1
    expect(node.driver.links()[0]).toMatchObject({ receiveBuffer: (1 << 20) / half, sendBuffer: 425_984 / half })
    await node.driver.close()
  })
})
