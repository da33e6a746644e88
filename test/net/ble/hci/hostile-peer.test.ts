import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encodeAcl, encodeHciEvent, eventCode, leEvent, opcode, u16Bytes } from '../../../../src/core/wire/hci.ts'
import { readU16 } from '../../../../src/core/base/bytes.ts'
import { encodeBleAdvertisement, uuidBytes } from '../../../../src/core/wire/ble-advertisement.ts'
import { RX_UUID, SERVICE_UUID, TX_UUID, type BackendEvent } from '../../../../src/net/ble/backend.ts'
import { HciStack } from '../../../../src/net/ble/hci/stack.ts'
import { PlayedController, PlayedTime, settle } from './played-controller.ts'

process.setMaxListeners(1000)

const [FRIEND, STRANGER] = [0x40, 0x41] as const
const [ATT, SIGNALING, SECURITY] = [4, 5, 6] as const
/** Where bleno has RX, TX and how to subscribe to it: behind what it has of itself. */
const [RX, CONFIGURATION] = [12, 15] as const
const friendly = Uint8Array.of(1, 1, 1, 1, 1, 0x41)
const [service, rx, tx] = [SERVICE_UUID, RX_UUID, TX_UUID].map(uuidBytes) as [Uint8Array, Uint8Array, Uint8Array]

let controller: PlayedController
let time: PlayedTime
let stack: HciStack
let events: BackendEvent[]
let friend: number

function told<Kind extends BackendEvent['kind']>(kind: Kind): (BackendEvent & { kind: Kind })[] {
  return events.filter((event): event is BackendEvent & { kind: Kind } => event.kind === kind)
}

/** noble and bleno over a controller that the test plays, with a friend who has dialed in and subscribed. */
beforeEach(async () => {
  controller = new PlayedController()
  time = new PlayedTime()
  events = []
  stack = new HciStack({ name: 'virtual', time, slotCount: 2, open: () => Promise.resolve(controller) })
  stack.onEvent((event) => events.push(event))
  await stack.begin()
  await time.pass(1)
  controller.connected(FRIEND, 'peripheral', friendly)
  controller.att(FRIEND, 0x12, CONFIGURATION, 0, 1, 0)
  await settle()
  friend = told('opened')[0]!.link
})

afterEach(async () => {
  await Promise.all([stack.close(), time.pass(1000)])
})

let number = 0

/** A value each way. */
async function friendGoesOn(): Promise<void> {
  number = (number + 1) & 0xff
  const [received, sent] = [told('received').length, controller.frames.get(FRIEND)?.length ?? 0]
  controller.att(FRIEND, 0x52, RX, 0, number)
  stack.command({ kind: 'send', link: friend, value: Uint8Array.of(number, number) })
  await settle()
  expect(told('received').slice(received).map(({ link, value }) => [link, ...value])).toEqual([[friend, number]])
  expect(controller.frames.get(FRIEND)!.slice(sent).map(({ payload }) => [payload[0], ...payload.subarray(3)])).toEqual([[0x1b, number, number]])
  expect(told('closed').filter(({ link }) => link === friend)).toEqual([])
  expect(told('adapter').map(({ state }) => state)).toEqual(['on'])
}

function commandsOf(code: number): number {
  return controller.commands.filter((command) => command.code === code).length
}

const bytes = fc.uint8Array({ maxLength: 30 })
const attRequest = fc.tuple(fc.constantFrom(0x02, 0x04, 0x06, 0x08, 0x0a, 0x0c, 0x10, 0x12, 0x16, 0x18, 0x52, 0xd2, 0x1e), fc.nat(20), bytes).map(([code, handle, more]) => Uint8Array.of(code, handle, 0, ...more))
const attAnswer = fc.tuple(fc.constantFrom(0x01, 0x03, 0x05, 0x07, 0x09, 0x0b, 0x0d, 0x11, 0x13, 0x17, 0x1b, 0x1d, 0x23, 0x02, 0x0a), fc.constantFrom(0, 1, 2, 4, 6, 7, 20, 21, 255), bytes).map(([code, size, more]) => Uint8Array.of(code, size, ...more))
const signal = fc.tuple(fc.constantFrom(0x01, 0x12, 0x13, 0x14, 0x17), fc.nat(255), fc.uint8Array({ maxLength: 12 })).map(([code, id, more]) => Uint8Array.of(code, id, more.length, 0, ...more))
const frame = (pdu: fc.Arbitrary<Uint8Array>): fc.Arbitrary<{ channel: number; payload: Uint8Array }> => fc.oneof(
  { weight: 8, arbitrary: pdu.map((payload) => ({ channel: ATT, payload })) },
  { weight: 1, arbitrary: signal.map((payload) => ({ channel: SIGNALING, payload })) },
  { weight: 1, arbitrary: fc.record({ channel: fc.constantFrom(ATT, SIGNALING, SECURITY, 0, 0x40, 0xffff), payload: fc.uint8Array({ maxLength: 60 }) }) },
)

describe('a stranger who has dialed in', () => {
  test('may say what it likes: nothing is thrown, and a friend\'s values go on', async () => {
    await fc.assert(fc.asyncProperty(fc.array(frame(attRequest), { minLength: 1, maxLength: 40 }), fc.integer({ min: 4, max: 251 }), async (said, size) => {
      controller.connected(STRANGER, 'peripheral', Uint8Array.of(6, 6, 6, 6, 6, 0x46))
      const ended = commandsOf(opcode.disconnect)
      for (const { channel, payload } of said) controller.frame(STRANGER, channel, payload.slice(), size)
      await settle()
      await friendGoesOn()
      if (commandsOf(opcode.disconnect) === ended) controller.disconnected(STRANGER)
      await settle()
    }), { numRuns: 150 })
    expect(told('fault')).toEqual([])
  })

  test('grows nothing by writes that it only prepares', async () => {
    controller.connected(STRANGER, 'peripheral', Uint8Array.of(6, 6, 6, 6, 6, 0x46))
    controller.att(STRANGER, 0x02, 5, 2)
    for (let i = 0; i < 200; i++) {
      controller.att(STRANGER, 0x16, RX, 0, ...u16Bytes(i * 500), ...new Uint8Array(500))
      if (i % 8 === 7) await settle()
    }
    await settle()
    const answers = controller.frames.get(STRANGER)!.slice(1).map(({ payload }) => [...payload])
    expect(answers).toEqual(Array.from({ length: 200 }, () => [0x01, 0x16, RX, 0, 0x06]))
    await time.pass(1000)
    expect(told('dropped')).toEqual([{ kind: 'dropped', reason: 'att', count: 200 }])
    await friendGoesOn()
  })

  test('who asks and does not listen is closed, and holds what little it may', async () => {
    controller.connected(STRANGER, 'peripheral', Uint8Array.of(6, 6, 6, 6, 6, 0x46))
    controller.completes = false
    for (let i = 0; i < 400; i++) controller.att(STRANGER, 0x0a, 3, 0)
    await settle()
    controller.completes = true
    expect(commandsOf(opcode.disconnect)).toBe(1)
    // Its share of the buffers was taken back with its link.
    controller.completePieces(FRIEND, controller.heldOf.get(FRIEND) ?? 0)
    await friendGoesOn()
  })

  test('who begins frames and never ends them keeps one, and the first piece of nothing ends the link', async () => {
    controller.connected(STRANGER, 'peripheral', Uint8Array.of(6, 6, 6, 6, 6, 0x46))
    for (let i = 0; i < 5000; i++) controller.say(encodeAcl(STRANGER, 2, Uint8Array.of(0xe8, 3, ATT, 0, 0x52)))
    await friendGoesOn()
    expect(commandsOf(opcode.disconnect)).toBe(0)
    controller.say(encodeAcl(STRANGER, 2, Uint8Array.of(0xff, 0xff, ATT, 0, 0x52)))
    await settle()
    expect(commandsOf(opcode.disconnect)).toBe(1)
    await friendGoesOn()
  })
})

/** A server of GATT as it should be: what it says to a request. */
function honestAnswer(request: Uint8Array): Uint8Array {
  switch (request[0]) {
    case 0x02:
      return Uint8Array.of(0x03, 5, 2)
    case 0x10:
      return readU16(request, 1) === 1 ? Uint8Array.of(0x11, 20, 10, 0, 15, 0, ...service) : Uint8Array.of(0x01, 0x10, 16, 0, 0x0a)
    case 0x08:
      if (readU16(request, 5) === 0x2902) return Uint8Array.of(0x09, 4, 15, 0, 0, 0)
      return readU16(request, 1) <= 11 ? Uint8Array.of(0x09, 21, 11, 0, 0x0c, 12, 0, ...rx, 13, 0, 0x10, 14, 0, ...tx) : Uint8Array.of(0x01, 0x08, 15, 0, 0x0a)
    case 0x12:
      return Uint8Array.of(0x13)
    default:
      return Uint8Array.of(0x01, request[0]!, 0, 0, 0x06)
  }
}

describe('a stranger whom we dial', () => {
  let device = 0

  /** Dials somebody new, who answers as it is told; how the dial ended. */
  async function dial(answer: (request: Uint8Array, n: number) => void): Promise<string> {
    device = (device + 1) & 0xff
    const address = Uint8Array.of(device, 2, 2, 2, 2, 0x42)
    const text = `42:02:02:02:02:${device.toString(16).padStart(2, '0')}`
    const before = events.length
    await time.pass(2000)
    controller.report(address, encodeBleAdvertisement(service, undefined))
    let n = 0
    controller.onFrame = (handle, channel, payload) => {
      // Some would answer answers for ever.
      if (handle === STRANGER && channel === ATT && n < 300) answer(payload, n++)
    }
    controller.onCommand = (code, parameters) => {
      controller.answer(code, parameters)
      if (code === opcode.leCreateConnection) controller.later(() => controller.later(() => controller.connected(STRANGER, 'central', address)))
    }
    stack.command({ kind: 'connect', address: text, timeoutMs: 4000 })
    await time.pass(0)
    for (let i = 0; i < 100 && !events.slice(before).some(({ kind }) => kind === 'opened' || kind === 'connectFailed'); i++) await time.pass(50)
    const end = events.slice(before).find((event) => event.kind === 'opened' || event.kind === 'connectFailed')
    if (end?.kind === 'opened') return 'opened'
    return end?.kind === 'connectFailed' ? end.reason : 'nothing'
  }

  async function leave(): Promise<void> {
    controller.onFrame = () => undefined
    controller.disconnected(STRANGER)
    await settle()
    expect(stack.tableSizes().package).toBe(0)
  }

  const answerWith = (payload: Uint8Array): void => controller.frame(STRANGER, ATT, payload)

  test('and who answers as it should is open', async () => {
    expect(await dial((request) => answerWith(honestAnswer(request)))).toBe('opened')
    await friendGoesOn()
    await leave()
  })

  test('may answer what it likes at any step: the dial ends, nothing is thrown or kept, and a friend\'s values go on', async () => {
    await fc.assert(fc.asyncProperty(fc.nat(6), fc.array(frame(attAnswer), { minLength: 1, maxLength: 12 }), fc.integer({ min: 4, max: 251 }), async (honest, said, size) => {
      const end = await dial((request, n) => {
        if (n < honest) answerWith(honestAnswer(request))
        else for (const { channel, payload } of said) controller.frame(STRANGER, channel, payload.slice(), size)
      })
      expect(end).not.toBe('nothing')
      await friendGoesOn()
      await leave()
    }), { numRuns: 120 })
  })

  test.each([['services', [0x11, 0]], ['characteristics', [0x09, 0]]] as const)('a list of %s whose entries have no length ends it at once', async (_, head) => {
    const end = await dial((request) => answerWith(request[0] === head[0] - 1 ? Uint8Array.of(...head, 1, 0, 2, 0, 3, 0) : honestAnswer(request)))
    expect(end).toBe('closed by the other')
    await leave()
    await friendGoesOn()
  })

  test('who offers services for ever is left', async () => {
    const end = await dial((request) => answerWith(request[0] === 0x10 ? Uint8Array.of(0x11, 6, 1, 0, 2, 0, 9, 9) : honestAnswer(request)))
    expect(end).toBe('the other does not come to an end with what it offers')
    await leave()
    await friendGoesOn()
  })

  test('who wishes for other intervals without end has one met at a time, and the adapter nothing to fail of', async () => {
    expect(await dial((request) => answerWith(honestAnswer(request)))).toBe('opened')
    const wish = (): void => controller.frame(STRANGER, SIGNALING, Uint8Array.of(0x12, 1, 8, 0, 6, 0, 12, 0, 0, 0, 0x90, 1))
    for (let i = 0; i < 1000; i++) {
      wish()
      if (i % 16 === 15) await settle()
    }
    await settle()
    expect(commandsOf(opcode.leUpdateConnection)).toBe(1)
    const answers = controller.frames.get(STRANGER)!.filter(({ channel }) => channel === SIGNALING).map(({ payload }) => payload[4])
    expect([answers.filter((result) => result === 0).length, answers.filter((result) => result === 1).length]).toEqual([1, 999])
    controller.event(eventCode.leMeta, Uint8Array.of(leEvent.connectionUpdated, 0), u16Bytes(STRANGER), Uint8Array.of(12, 0, 0, 0, 0x90, 1))
    wish()
    await settle()
    expect(commandsOf(opcode.leUpdateConnection)).toBe(2)
    await friendGoesOn()
    await leave()
  })

  test('a change that the adapter refuses does not stand in the way of the next', async () => {
    expect(await dial((request) => answerWith(honestAnswer(request)))).toBe('opened')
    controller.onCommand = (code, parameters) => {
      if (code === opcode.leUpdateConnection) controller.later(() => controller.status(code, 0x12))
      else controller.answer(code, parameters)
    }
    for (let i = 1; i <= 3; i++) {
      controller.frame(STRANGER, SIGNALING, Uint8Array.of(0x12, i, 8, 0, 6, 0, 12, 0, 0, 0, 0x90, 1))
      await settle()
      expect(commandsOf(opcode.leUpdateConnection)).toBe(i)
    }
    await leave()
  })

  test('who indicates instead of answering is confirmed, so that noble keeps nothing of it, until the dial is over', async () => {
    let indicated = 0
    const end = await dial((request, n) => {
      if (n === 0) return answerWith(honestAnswer(request))
      for (; indicated < 40; indicated++) answerWith(Uint8Array.of(0x1d, 8, 0, 1))
    })
    expect(end).toBe('timed out')
    expect(controller.frames.get(STRANGER)!.filter(({ payload }) => payload[0] === 0x1e)).toHaveLength(40)
    await leave()
    await friendGoesOn()
  })
})

test('advertisements cut off anywhere, or of any bytes, are heard or counted, and one of ours among them is heard', async () => {
  const ours = Uint8Array.of(5, 5, 5, 5, 5, 0x45)
  stack.command({ kind: 'scan', on: true, pace: 'fast' })
  await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.nat(5), fc.uint8Array({ maxLength: 31 }), fc.nat(40)), { maxLength: 6 }), fc.nat(254), async (reports, count) => {
    await time.pass(2000)
    const before = told('seen').length
    const good = Uint8Array.of(0, 1, ...ours, 31, ...encodeBleAdvertisement(service, Uint8Array.of(1, 2, 3, 4, 5, 6)), 0xc4)
    const wild = reports.flatMap(([kind, data, length]) => [kind, 1, 9, 9, 9, 9, 9, 0x49, length, ...data, 0xc4])
    controller.event(eventCode.leMeta, Uint8Array.of(leEvent.advertisingReport, count), Uint8Array.from(wild.slice(0, 200)))
    controller.event(eventCode.leMeta, Uint8Array.of(leEvent.advertisingReport, 1 + count), good, Uint8Array.from(wild.slice(0, 200)))
    for (let cut = 1; cut < good.length; cut += 7) controller.say(encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.advertisingReport, 1), good.subarray(0, cut)))
    // Extended ones were not asked for: legacy scanning has none.
    controller.event(eventCode.leMeta, Uint8Array.of(0x0d, count), Uint8Array.from(wild.slice(0, 200)))
    const seen = told('seen').slice(before).filter(({ address }) => address === '45:05:05:05:05:05')
    expect(seen.map(({ hint, rssi }) => [rssi, ...(hint ?? [])])).toEqual([[-60, 1, 2, 3, 4, 5, 6]])
  }), { numRuns: 100 })
  expect(stack.tableSizes().heard).toBeLessThanOrEqual(1024)
  await friendGoesOn()
  expect(told('dropped').every(({ reason }) => reason === 'hci')).toBe(true)
})
