import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { realAirTime } from '../../../src/sim/air/air-time.ts'
import { VirtualAir, type AirOptions } from '../../../src/sim/air/air.ts'
import type { AirController } from '../../../src/sim/air/controller.ts'
import { AirServer } from '../../../src/sim/air/serve-air.ts'
import { loadStraight, playCentral, playPeripheral, SERVICE, type Report, type Wire } from './straight.mjs'

const program = fileURLToPath(new URL('straight.mjs', import.meta.url))
const closers: (() => Promise<void> | void)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

function air(options: Omit<AirOptions, 'time'> = {}): VirtualAir {
  return new VirtualAir({ time: realAirTime(), advertisingIntervalMaxMs: 20, ...options })
}

function wireTo(controller: AirController): Wire {
  return { write: (packet) => controller.write(packet), start: (take) => controller.onPacket(take) }
}

/** A package in a process of its own, and what it reports. */
class Child {
  readonly reports: Report[] = []
  readonly process: ChildProcess
  readonly ended: Promise<number | null>
  errors = ''

  constructor(role: 'central' | 'peripheral', path: string) {
    this.process = spawn(process.execPath, [program, role, path], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.ended = new Promise((resolve) => this.process.on('exit', resolve))
    createInterface({ input: this.process.stdout! }).on('line', (line) => this.reports.push(JSON.parse(line) as Report))
    this.process.stderr!.on('data', (chunk: Buffer) => (this.errors += chunk.toString()))
    closers.push(async () => {
      this.process.kill()
      await this.ended
    })
  }
}

function kinds(reports: readonly Report[], ...kinds: readonly string[]): Report[] {
  return reports.filter(({ kind }) => kinds.includes(kind))
}

/** What both must have told of two rounds: see `playRound`. */
function checkReports(central: readonly Report[], peripheral: readonly Report[]): void {
  expect(central[0]).toEqual({ kind: 'found', name: 'straight', services: [SERVICE], rssi: -50 })
  const rounds = kinds(central, 'round')
  // 256 is what noble asks for by itself; of the first value 253 bytes came back, of all others every one.
  expect(rounds).toEqual([1, 2].map((round) => ({ kind: 'round', round, asked: 256, mtu: 517, rssi: -50, echoes: 63, bytes: 253 + 512 + lengths() + 1 })))
  expect(kinds(peripheral, 'accepted', 'mtu', 'disconnected').map(({ kind, mtu }) => mtu ?? kind)).toEqual([...Array.from({ length: 2 }, () => ['accepted', 256, 517, 'disconnected'])].flat())
  expect(kinds(peripheral, 'subscribed')).toEqual([{ kind: 'subscribed', size: 253 }, { kind: 'subscribed', size: 253 }])
  const written = kinds(peripheral, 'written')
  expect(written.filter(({ withoutResponse }) => withoutResponse === true)).toHaveLength(2 * 60 + 1)
  expect(written.filter(({ withoutResponse, size }) => withoutResponse === false && size === 512)).toHaveLength(2)
  expect(kinds(peripheral, 'failed')).toEqual([])
}

function lengths(): number {
  let sum = 0
  for (let i = 1; i <= 60; i++) sum += 1 + (i * 97) % 512
  return sum
}

function checkController(controller: AirController): void {
  expect(controller.violations).toEqual({ malformed: 0, unknownCommand: 0, unknownHandle: 0, overrun: 0, tooLong: 0 })
  expect(controller.ends.size).toBe(0)
}

describe('noble and bleno, each alone and unmodified on a controller', () => {
  test.each([['ideal', {}], ['with three buffers of 27 bytes and losses', { bufferCount: 3, bufferLength: 27, dataLoss: 0.01 }]] as const)('in one process, the air %s', async (_, options) => {
    const room = air(options)
    const [a, b] = [room.add()!, room.add()!]
    const [central, peripheral]: [Report[], Report[]] = [[], []]
    playPeripheral(loadStraight('bleno', wireTo(b)), (report) => peripheral.push(report))
    await playCentral(loadStraight('noble', wireTo(a)), (report) => central.push(report))
    await expect.poll(() => kinds(peripheral, 'disconnected').length, { timeout: 60_000 }).toBe(2)
    checkReports(central, peripheral)
    checkController(a)
    checkController(b)
    closers.push(() => [a, b].forEach((controller) => controller.detach()))
  })

  test('in two processes, over the unix socket of an air', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'straight-'))
    closers.push(() => rmSync(directory, { recursive: true, force: true }))
    const path = join(directory, 'air')
    const room = air()
    const server = await AirServer.listen(room, path)
    closers.push(() => server.close())
    const peripheral = new Child('peripheral', path)
    await expect.poll(() => kinds(peripheral.reports, 'advertising').length, { timeout: 60_000 }).toBe(1)
    const central = new Child('central', path)
    await expect.poll(() => server.controllers.size, { timeout: 60_000 }).toBe(2)
    const controllers = [...server.controllers]
    expect(await central.ended, central.errors).toBe(0)
    await expect.poll(() => kinds(peripheral.reports, 'disconnected').length, { timeout: 60_000 }).toBe(2)
    checkReports(central.reports, peripheral.reports)
    controllers.forEach(checkController)
    await expect.poll(() => room.controllers.size, { timeout: 60_000 }).toBe(1)
    expect([central.errors, peripheral.errors]).toEqual(['', ''])
  })
})
