import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encodeHciCommand, encodeHciEvent, eventCode, opcode, u16Bytes } from '../../../src/core/wire/hci.ts'
import { openH4Socket } from '../../../src/net/ble/hci/transport.ts'
import { realAirTime } from '../../../src/sim/air/air-time.ts'
import { VirtualAir } from '../../../src/sim/air/air.ts'
import { AirServer } from '../../../src/sim/air/serve-air.ts'

/** Patience only. */
const patience = { timeout: 60_000 }

let directory: string
let path: string
const closers: (() => unknown)[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'air-'))
  path = join(directory, 'air')
})

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  rmSync(directory, { recursive: true, force: true })
})

const answer = Buffer.from(encodeHciEvent(eventCode.commandComplete, Uint8Array.of(1), u16Bytes(opcode.reset), Uint8Array.of(0)))

class Host {
  readonly socket: Socket
  heard = Buffer.alloc(0)
  isCut = false

  constructor() {
    this.socket = connect(path)
    this.socket.on('data', (chunk: Buffer) => (this.heard = Buffer.concat([this.heard, chunk])))
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => (this.isCut = true))
    closers.push(() => this.socket.destroy())
  }

  async asks(): Promise<void> {
    this.heard = Buffer.alloc(0)
    this.socket.write(encodeHciCommand(opcode.reset))
    await expect.poll(() => this.heard.equals(answer), patience).toBe(true)
  }
}

describe('an air behind a socket', () => {
  let room: VirtualAir

  beforeEach(async () => {
    room = new VirtualAir({ time: realAirTime(), controllerCountMax: 3 })
    const server = await AirServer.listen(room, path)
    closers.push(() => server.close())
  })

  test('understands a host however its bytes are cut', async () => {
    const host = new Host()
    host.socket.setNoDelay(true)
    for (const byte of encodeHciCommand(opcode.reset)) {
      host.socket.write(Uint8Array.of(byte))
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    await expect.poll(() => host.heard.equals(answer), patience).toBe(true)
  })

  test('cuts off who speaks no HCI or does not listen, and who comes when it is full; the others stay', async () => {
    const [good, babbler, deaf] = [new Host(), new Host(), new Host()]
    await expect.poll(() => room.controllers.size, patience).toBe(3)
    const late = new Host()
    await expect.poll(() => late.isCut, patience).toBe(true)
    babbler.socket.write(Uint8Array.of(0x77, 1, 2, 3))
    await expect.poll(() => babbler.isCut, patience).toBe(true)
    deaf.socket.pause()
    const commands = Buffer.concat(Array.from({ length: 10_000 }, () => encodeHciCommand(opcode.readLocalCommands)))
    await expect.poll(() => {
      if (room.controllers.size > 1) deaf.socket.write(commands)
      return room.controllers.size
    }, patience).toBe(1)
    await good.asks()
  })
})

describe('a controller behind a socket', () => {
  async function serve(to: (socket: Socket) => void): Promise<string[]> {
    const sockets: Socket[] = []
    const server = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => undefined)
      to(socket)
    })
    await new Promise<void>((resolve) => void server.listen(path, resolve))
    closers.push(() => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    })
    const way = await openH4Socket(path)
    const ends: string[] = []
    way.start(() => undefined, (why) => ends.push(why))
    closers.push(() => way.close())
    for (let i = 0; i < 400 && ends.length === 0; i++) {
      way.write(new Uint8Array(20_000))
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    return ends
  }

  test('that says what is no HCI, goes, or takes nothing, is left, and it is said why', async () => {
    const ends = await serve((socket) => {
      socket.resume()
      socket.write(Buffer.concat([answer, Uint8Array.of(0x99)]))
    })
    expect(ends).toEqual(['what came from the controller is no HCI'])
    await closers.pop()!()
    await closers.pop()!()
    expect(await serve((socket) => void socket.end())).toEqual(['the controller has gone'])
    await closers.pop()!()
    await closers.pop()!()
    expect(await serve((socket) => void socket.pause())).toEqual(['the controller does not take what it is given'])
  })
})
