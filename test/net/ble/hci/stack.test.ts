import { afterEach, describe, expect, test, vi } from 'vitest'
import { VALUES_UNSENT_MAX } from '../../../../src/net/ble/backend.ts'
import { hciStatus, opcode } from '../../../../src/core/wire/hci.ts'
import type { VirtualAir, AirOptions } from '../../../../src/sim/air/air.ts'
import { connect, Node, testRoom } from './nodes.ts'

const hint = Uint8Array.of(1, 2, 3, 4, 5, 6)
let nodes: Node[] = []

afterEach(async () => {
  await Promise.all(nodes.map((node) => node.stack.close()))
  nodes = []
})

async function start(air: VirtualAir, slotCount?: number): Promise<Node> {
  const node = await Node.start(air, slotCount)
  nodes.push(node)
  return node
}

/** Two nodes of which the second shows itself and the first listens. */
async function pair(options?: Omit<AirOptions, 'time'>): Promise<[Node, Node]> {
  const air = testRoom(options)
  const [a, b] = [await start(air), await start(air)]
  b.show(hint)
  a.listen()
  return [a, b]
}

const bytes = (n: number, of: number): Uint8Array => new Uint8Array(n).fill(of)

describe('two nodes: noble at the one, bleno at the other', () => {
  test('values go both ways at the largest MTU, each is told as sent once, and both hear of the end', async () => {
    const [a, b] = await pair()
    const link = await connect(a, b)
    // 517 is negotiated, and 510 bytes is what every stack takes.
    expect(link.mtu).toBe(513)
    expect(b.told('opened')[0]).toMatchObject({ role: 'peripheral', mtu: 513 })
    expect(a.told('seen')[0]!.hint).toEqual(hint)
    a.send(link.central, bytes(510, 1))
    a.send(link.central, bytes(1, 2))
    expect((await b.has('received', ({ value }) => value.length === 1)).value).toEqual(bytes(1, 2))
    expect(b.told('received')[0]!.value).toEqual(bytes(510, 1))
    b.send(link.peripheral, bytes(510, 3))
    expect((await a.has('received')).value).toEqual(bytes(510, 3))
    await b.has('sent')
    let sent = 0
    for (const event of a.told('sent')) sent += event.count
    expect(sent).toBe(2)
    expect(b.told('sent')).toHaveLength(1)
    a.command({ kind: 'disconnect', link: link.central })
    expect(await a.has('closed')).toMatchObject({ link: link.central, reason: 'closed here' })
    expect(await b.has('closed')).toMatchObject({ link: link.peripheral, reason: 'closed by the other' })
  })

  test('the own address is random and new with each hint; the name of the machine is nowhere', async () => {
    const [a, b] = await pair()
    const first = (await a.has('seen')).address
    expect(Number.parseInt(first.slice(0, 2), 16) >> 6).toBe(1)
    b.show(Uint8Array.of(6, 5, 4, 3, 2, 1))
    const second = await a.next('seen', ({ hint: heard }) => heard?.[0] === 6)
    expect(second.address).not.toBe(first)
    await connect(a, b)
    expect(b.told('opened')[0]!.address).not.toBe(a.controller.publicAddress.toString())
    expect(process.env['BLENO_DEVICE_NAME']).toBe('postern')
  })

  test('a peer that has vanished times out, and the next dial is made', async () => {
    const [a, b] = await pair()
    const seen = await a.has('seen')
    b.controller.radioOff = true
    a.dial(seen.address, 200)
    expect(await a.next('connectFailed')).toMatchObject({ address: seen.address, reason: 'timed out' })
    b.controller.radioOff = false
    a.dial(seen.address)
    expect((await a.next('opened')).address).toBe(seen.address)
  })

  test('dials that make no sense fail at once', async () => {
    const [a, b] = await pair()
    a.dial('00:11:22:33:44:55')
    expect((await a.next('connectFailed')).reason).toBe('not heard')
    a.dial('nonsense')
    expect((await a.next('connectFailed')).reason).toBe('not heard')
    await connect(a, b)
    a.dial(a.told('opened')[0]!.address)
    expect((await a.next('connectFailed')).reason).toBe('already connected or being dialed')
  })

  test('a sender that has lost count of what is unsent loses the link, not the memory', async () => {
    const [a, b] = await pair({ latencyMs: 20 })
    const link = await connect(a, b)
    for (let i = 0; i <= VALUES_UNSENT_MAX; i++) a.send(link.central, bytes(20, i))
    expect((await a.has('closed')).reason).toBe('overrun')
  })

  test('out of range the link ends by its timeout, and somebody else is heard and dialed', async () => {
    let isNear = true
    const [a, b] = await pair({ rssi: () => (isNear ? -40 : undefined) })
    const link = await connect(a, b)
    isNear = false
    a.send(link.central, bytes(20, 1))
    expect((await a.has('closed')).reason).toBe('out of range')
    await b.has('closed')
    isNear = true
    await connect(a, b)
  })
})

describe('the pace of the radio', () => {
  test('reaches the controller: how often it shows itself, and how much of the time it listens', async () => {
    const [a] = await pair()
    for (const [pace, intervalMs, share] of [['slow', 1000, 0.2], ['fast', 100, 0.5], ['slow', 1000, 0.2]] as const) {
      a.command({ kind: 'advertise', on: true, hint: undefined, pace })
      a.command({ kind: 'scan', on: true, pace })
      await vi.waitFor(() => {
        expect([a.controller.advertising.on, a.controller.scanning.on, a.controller.advertising.intervalMs]).toEqual([true, true, intervalMs])
        expect(a.controller.scanning.share).toBeCloseTo(share, 2)
      }, { timeout: 30_000 })
    }
  })
})

describe('what packages and controllers do wrong', () => {
  test('after 100,000 addresses nothing is kept but the last thousand or so', async () => {
    const air = testRoom()
    const [a, b] = [await start(air, 1), air.add()!]
    a.listen()
    const data = Uint8Array.from(Buffer.from('020106110' + '7019e0c1b5f6af0a2394d2a8c01005f70', 'hex'))
    for (let i = 0; i < 100_000; i++) {
      a.controller.hear({ type: 0, addressType: 1, address: Uint8Array.of(i, i >> 8, i >> 16, 0, 0, 0x40), data, scanResponse: new Uint8Array(0), rssi: -60 })
      if (i % 1000 === 0) await new Promise(setImmediate)
    }
    await a.has('seen', ({ address }) => address === '40:00:00:01:86:9f')
    expect(b.ends.size).toBe(0)
    expect(a.stack.tableSizes()).toEqual({ heard: 1024, package: 0 })
  }, 120_000)

  test('an adapter that is reset, hangs or is pulled out ends its links, is told, and comes back', async () => {
    const [a, b] = await pair()
    for (const fail of [() => a.controller.hardwareError(7), () => a.unplug(), () => {
      a.controller.silent = true
      a.command({ kind: 'scan', on: true, pace: 'slow' })
    }]) {
      await connect(a, b)
      const [closed, resetting, on] = [a.next('closed'), a.next('adapter', ({ state }) => state === 'resetting'), a.next('adapter', ({ state }) => state === 'on')]
      a.ahead += 60_000
      fail()
      expect((await closed).reason).toBe('the adapter has gone')
      expect((await resetting).detail).not.toBe('')
      await on
      a.listen()
      await a.next('seen')
    }
  }, 120_000)

  test('an adapter that is not there says so, and is found when it comes', async () => {
    const [a] = await pair()
    const [told, on] = [a.next('adapter', (event) => event.state === 'absent'), a.next('adapter', (event) => event.state === 'on')]
    a.refuse = 'ENOENT'
    a.unplug()
    await told
    a.refuse = undefined
    await on
  }, 120_000)

  test('a controller that refuses commands is told as a fault', async () => {
    const [a, b] = await pair()
    b.controller.failNext.set(opcode.leSetAdvertisingParameters, hciStatus.hardwareFailure)
    b.show(Uint8Array.of(9, 9, 9, 9, 9, 9))
    expect(await b.next('fault')).toMatchObject({ code: 'refused' })
    await a.next('seen', ({ hint: heard }) => heard?.[0] === 9)
  })
})
