import { afterEach, describe, expect, test } from 'vitest'
import { boundary, encodeAcl, encodeHciCommand, leEvent, opcode, u16Bytes } from '../../../../src/core/wire/hci.ts'
import { readU16 } from '../../../../src/core/base/bytes.ts'
import type { VirtualAir } from '../../../../src/sim/air/air.ts'
import { AirServer } from '../../../../src/sim/air/serve-air.ts'
import type { AirController } from '../../../../src/sim/air/controller.ts'
import { connect, inProcess, Node, testRoom } from './nodes.ts'

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

/** A stranger's radio: what it says is nothing that a package would. */
class Stranger {
  readonly controller: AirController
  handle: number | undefined
  ended = 0
  answers = 0

  constructor(air: VirtualAir) {
    this.controller = air.add()!
    inProcess(this.controller).start((packet) => this.#take(packet), () => undefined)
    this.command(opcode.setEventMask, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f)
  }

  #take(packet: Uint8Array): void {
    if (packet[0] === 4 && packet[1] === 0x3e && packet[3] === leEvent.connected && packet[4] === 0) this.handle = readU16(packet, 5)
    if (packet[0] === 4 && packet[1] === 0x05) {
      this.ended++
      this.handle = undefined
    }
    if (packet[0] === 2) this.answers++
  }

  command(code: number, ...parameters: readonly number[]): void {
    this.controller.write(encodeHciCommand(code, Uint8Array.from(parameters)))
  }

  async dial(to: Node): Promise<void> {
    const to16 = u16Bytes(100)
    this.command(opcode.leCreateConnection, 0x60, 0, 0x30, 0, 0, 1, ...to.controller.randomAddress!, 0, 6, 0, 6, 0, 0, 0, ...to16, 0, 0, 0, 0)
    await until(() => this.handle !== undefined)
  }

  /** Pieces as they are, without a thought of what a frame is. */
  say(flag: number, data: Uint8Array): void {
    if (this.handle !== undefined) this.controller.write(encodeAcl(this.handle, flag, data))
  }
}

async function until(is: () => boolean): Promise<void> {
  for (let i = 0; i < 6000; i++) {
    if (is()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error('it never came to that')
}

const att = (...bytes: readonly number[]): Uint8Array => Uint8Array.of(bytes.length, 0, 4, 0, ...bytes)

describe('many', () => {
  test('four dial one, which dials two others: each link carries its own, and a fifth gets in when one leaves', async () => {
    const air = testRoom()
    const centre = await start(air)
    centre.show(Uint8Array.of(1, 1, 1, 1, 1, 1))
    centre.listen()
    const others: Node[] = []
    for (let i = 0; i < 5; i++) others.push(await start(air, 1))
    const links: Awaited<ReturnType<typeof connect>>[] = []
    for (const other of others.slice(0, 4)) {
      other.listen()
      links.push(await connect(other, centre))
    }
    for (const [i, other] of others.slice(0, 2).entries()) {
      other.show(Uint8Array.of(2, 2, 2, 2, 2, i))
      links.push(await connect(centre, other))
    }
    const told = centre.told('opened')
    expect(told.map(({ role }) => role)).toEqual(['peripheral', 'peripheral', 'peripheral', 'peripheral', 'central', 'central'])
    for (const [i, other] of others.slice(0, 4).entries()) other.send(links[i]!.central, Uint8Array.of(i))
    for (const { link } of told) centre.send(link, Uint8Array.of(100 + link))
    for (const [i, { peripheral }] of links.slice(0, 4).entries()) await centre.has('received', ({ link, value }) => link === peripheral && value[0] === i)
    for (const [i, other] of others.slice(0, 4).entries()) await other.has('received', ({ value }) => value[0] === 100 + links[i]!.peripheral)
    // Full: nothing is advertised, so nobody hears it.
    expect(centre.controller.advertising.on).toBe(false)
    others[0]!.command({ kind: 'disconnect', link: links[0]!.central })
    others[4]!.listen()
    await connect(others[4]!, centre)
    expect(Object.values(centre.controller.violations)).toEqual([0, 0, 0, 0, 0])
  }, 120_000)

  test('sixteen nodes in one room, each linked to each where four may come in', async () => {
    const air = testRoom({ linkCountMax: 32 })
    const room: Node[] = []
    for (let i = 0; i < 16; i++) room.push(await start(air, 4))
    for (const [i, node] of room.entries()) {
      node.show(Uint8Array.of(0, 0, 0, 0, 0, i))
      node.listen()
    }
    // Each dials the next four of the circle: 64 links, and every node has eight.
    for (const [i, node] of room.entries()) for (let k = 1; k <= 4; k++) await connect(node, room[(i + k) % 16]!)
    for (const node of room) {
      expect(node.controller.ends.size).toBe(8)
      for (const { link } of node.told('opened')) node.send(link, Uint8Array.of(link))
    }
    for (const node of room) {
      await until(() => node.told('received').length === 8)
      expect(new Set(node.told('received').map(({ link }) => link)).size).toBe(8)
      expect(Object.values(node.controller.violations)).toEqual([0, 0, 0, 0, 0])
    }
  }, 180_000)
})

describe('strangers', () => {
  test('pieces and requests that make no sense end their link and no other', async () => {
    const air = testRoom()
    const [node, friend] = [await start(air), await start(air, 1)]
    node.show()
    friend.listen()
    const link = await connect(friend, node)
    const stranger = new Stranger(air)
    const nonsense: readonly (readonly [number, Uint8Array])[] = [
      [boundary.continuing, Uint8Array.of(1, 2, 3)],
      [boundary.firstFromHost, Uint8Array.of(9)],
      [boundary.firstFromHost, Uint8Array.of(255, 255, 4, 0, 1)],
      [boundary.firstFromHost, Uint8Array.of(1, 0, 4, 0, 0x52, 1, 2)],
      // An MTU without a number, a read without a handle, a search without a value: the package throws.
      [boundary.firstFromHost, att(0x02)],
      [boundary.firstFromHost, att(0x0a)],
      [boundary.firstFromHost, att(0x06, 1, 0, 255, 255, 0, 0x28)],
    ]
    for (const [flag, data] of nonsense) {
      await until(() => node.controller.advertising.on)
      await stranger.dial(node)
      const ended = stranger.ended
      stranger.say(flag, data)
      await until(() => stranger.ended > ended)
    }
    friend.send(link.central, Uint8Array.of(7))
    expect((await node.has('received')).value).toEqual(Uint8Array.of(7))
    expect(node.told('closed')).toEqual([])
    const dropped = (of: string): number => node.told('dropped').reduce((sum, { reason, count }) => sum + (reason === of ? count : 0), 0)
    await until(() => dropped('l2cap') === 4 && dropped('att') === 3)
    expect(node.told('fault')).toEqual([])
  }, 120_000)

  test('one who floods with requests, or wants to pair, is answered or closed, and values go on', async () => {
    const air = testRoom()
    const [node, friend] = [await start(air), await start(air, 1)]
    node.show()
    friend.listen()
    const link = await connect(friend, node)
    const stranger = new Stranger(air)
    await until(() => node.controller.advertising.on)
    await stranger.dial(node)
    stranger.say(boundary.firstFromHost, Uint8Array.of(7, 0, 6, 0, 1, 3, 0, 1, 16, 0, 0))
    await until(() => stranger.answers === 1)
    for (let i = 0; i < 500; i++) {
      stranger.say(boundary.firstFromHost, att(0x10, 1, 0, 255, 255, 0, 0x28))
      if (i % 8 === 7) await new Promise(setImmediate)
    }
    friend.send(link.central, Uint8Array.of(8))
    expect((await node.has('received')).value).toEqual(Uint8Array.of(8))
  }, 120_000)

  test('one who writes without having subscribed is not heard', async () => {
    const air = testRoom()
    const node = await start(air)
    node.show()
    await until(() => node.controller.advertising.on)
    const stranger = new Stranger(air)
    await stranger.dial(node)
    for (let handle = 1; handle < 20; handle++) stranger.say(boundary.firstFromHost, att(0x52, handle, 0, 1, 2, 3))
    stranger.say(boundary.firstFromHost, att(0x0a, 3, 0))
    await until(() => stranger.answers > 0)
    expect(node.told('received')).toEqual([])
    expect(node.told('opened')).toEqual([])
  }, 120_000)

  test('a link that ends at any moment of its opening fails the dial and nothing else', async () => {
    const air = testRoom({ latencyMs: 3 })
    const [a, b] = [await start(air, 1), await start(air, 1)]
    b.show()
    a.listen()
    const seen = await a.has('seen')
    for (let i = 0; i < 12; i++) {
      await until(() => b.controller.advertising.on)
      const ends = Promise.race([a.next('connectFailed').then(() => 'failed'), a.next('closed').then(() => 'closed')])
      a.dial(seen.address)
      await until(() => a.controller.ends.size > 0)
      await new Promise((resolve) => setTimeout(resolve, 3 * i))
      if (i % 2 === 0) b.controller.cutLinks()
      else a.controller.cutLinks()
      expect(['failed', 'closed']).toContain(await ends)
    }
    expect(a.stack.tableSizes().package).toBe(0)
    await until(() => b.controller.advertising.on)
    await connect(a, b)
  }, 120_000)
})

test('behind a unix socket an air is the same, and a controller that is pulled out is missed', async () => {
  const { openBackend } = await import('../../../../src/net/ble/hci/open.ts')
  const { mkdtempSync } = await import('node:fs')
  const path = `${mkdtempSync('/tmp/air-')}/air`
  const server = await AirServer.listen(testRoom(), path)
  const backend = await openBackend({ name: 'virtual', socket: path })
  const states: string[] = []
  backend.onEvent((event) => {
    if (event.kind === 'adapter') states.push(event.state)
  })
  await until(() => states.length === 1)
  server.unplug([...server.controllers][0]!)
  await until(() => states.length === 3)
  expect(states).toEqual(['on', 'resetting', 'on'])
  await backend.close()
  await server.close()
  await expect(openBackend({ name: 'virtual' })).rejects.toMatchObject({ code: 'unsupported' })
})
