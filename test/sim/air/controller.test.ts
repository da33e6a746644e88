import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readU16 } from '../../../src/core/base/bytes.ts'
import { addressText, encodeHciCommand, eventCode, hciStatus, leEvent, opcode, u16Bytes } from '../../../src/core/wire/hci.ts'
import { testAir } from './air-host.ts'

describe('commands', () => {
  test('one that is not known, has the wrong length or makes no sense is answered as the specification has it', () => {
    const { host } = testAir()
    const it = host()
    expect(it.ask(0x2036)).toBe(hciStatus.unknownCommand)
    expect(it.ask(0xfc01, 1, 2, 3)).toBe(hciStatus.unknownCommand)
    expect(it.ask(opcode.leSetAdvertisingEnable)).toBe(hciStatus.invalidParameters)
    expect(it.ask(opcode.leSetAdvertisingEnable, 2)).toBe(hciStatus.invalidParameters)
    expect(it.ask(opcode.leSetAdvertisingData, 32, ...new Uint8Array(31))).toBe(hciStatus.invalidParameters)
    expect(it.ask(opcode.leSetScanParameters, 0, 4, 0, 5, 0, 0, 0)).toBe(hciStatus.invalidParameters)
    expect(it.ask(opcode.leCancelConnection)).toBe(hciStatus.commandDisallowed)
    expect(it.ask(opcode.disconnect, 1, 0, 0x13)).toBe(hciStatus.unknownConnection)
    expect(it.ask(opcode.readRssi, 1, 0)).toBe(hciStatus.unknownConnection)
  })

  test('what is in use cannot be changed, and a random address must be set before it is used', () => {
    const { host } = testAir()
    const it = host()
    it.ask(opcode.leSetAdvertisingParameters, 0xa0, 0, 0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0)
    expect(it.ask(opcode.leSetAdvertisingEnable, 1)).toBe(hciStatus.invalidParameters)
    expect(it.ask(opcode.leSetRandomAddress, 1, 2, 3, 4, 5, 0x46)).toBe(hciStatus.success)
    expect(it.ask(opcode.leSetAdvertisingEnable, 1)).toBe(hciStatus.success)
    expect(it.ask(opcode.leSetRandomAddress, 1, 2, 3, 4, 5, 0x47)).toBe(hciStatus.commandDisallowed)
    expect(it.ask(opcode.leSetAdvertisingParameters, 0xa0, 0, 0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0)).toBe(hciStatus.commandDisallowed)
  })

  test('LE events are told only to a host that has asked for them', () => {
    const { host, run } = testAir()
    const [a, b] = [host(), host()]
    b.ask(opcode.setEventMask, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0)
    a.advertise()
    b.scan(false)
    run(500)
    expect(b.le(leEvent.advertisingReport)).toHaveLength(0)
  })

  test('any packet is taken without a throw, and every whole command is answered once', () => {
    fc.assert(fc.property(fc.array(fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.tuple(fc.constantFrom(...Object.values(opcode)), fc.uint8Array({ maxLength: 40 })).map(([code, parameters]) => encodeHciCommand(code, parameters)),
    ), { maxLength: 30 }), (packets) => {
      const { host, run } = testAir()
      const it = host()
      for (const packet of packets) {
        const from = it.events.length
        it.controller.write(packet)
        run(1)
        const answers = it.events.slice(from).filter(({ code }) => code === eventCode.commandComplete || code === eventCode.commandStatus)
        const isCommand = packet[0] === 1 && packet.length >= 4 && packet.length === 4 + packet[3]!
        expect(answers).toHaveLength(isCommand ? 1 : 0)
        if (isCommand) expect(readU16(answers[0]!.parameters, answers[0]!.code === eventCode.commandComplete ? 1 : 2)).toBe(readU16(packet, 1))
      }
    }), { numRuns: 60 })
  })
})

describe('a host that has lost its mind', () => {
  const handle = fc.oneof(fc.integer({ min: 0x3e, max: 0x46 }), fc.nat(0xffff))
  const deed = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.tuple(fc.constantFrom(...Object.values(opcode)), fc.uint8Array({ maxLength: 40 })).map(([code, parameters]) => encodeHciCommand(code, parameters)),
    fc.tuple(fc.constantFrom(opcode.disconnect, opcode.readRssi, opcode.leUpdateConnection, opcode.leSetDataLength, opcode.readRemoteVersion), handle, fc.uint8Array({ maxLength: 12 }))
      .map(([code, of, more]) => encodeHciCommand(code, Uint8Array.of(...u16Bytes(of), ...more))),
    fc.tuple(handle, fc.uint8Array({ maxLength: 300 })).map(([of, data]) => Uint8Array.of(2, ...u16Bytes(of), ...u16Bytes(data.length), ...data)),
  )

  test('has a controller that lives, and two others in the room have a link that carries everything', () => {
    fc.assert(fc.property(fc.array(fc.tuple(deed, fc.nat(30)), { maxLength: 60 }), (deeds) => {
      const { host, pair, run, air } = testAir()
      const [central, peripheral] = pair()
      const mad = host()
      mad.advertise()
      // It has a link of its own to do harm with.
      const third = host()
      third.dial(mad)
      run(300)
      const [before, completed] = [peripheral.data.length, central.completed]
      for (const [i, [packet, wait]] of deeds.entries()) {
        mad.controller.write(packet)
        central.send(Uint8Array.of(i), 0)
        run(1 + wait)
      }
      run(100)
      expect(peripheral.data.slice(before).map(({ data }) => data[0])).toEqual(deeds.map((_, i) => i))
      expect(central.completed - completed).toBe(deeds.length)
      expect(central.controller.violations).toEqual({ malformed: 0, unknownCommand: 0, unknownHandle: 0, overrun: 0, tooLong: 0 })
      expect(mad.controller.ends.size).toBeLessThanOrEqual(air.linkCountMax)
      expect(mad.ask(opcode.reset)).toBe(hciStatus.success)
      expect([mad.controller.ends.size, mad.controller.advertising.on, mad.controller.scanning.on]).toEqual([0, false, false])
    }), { numRuns: 100 })
  })
})

describe('advertising and scanning', () => {
  test('who scans hears advertisements, and scan responses if it asks for them', () => {
    const { host, run } = testAir({ rssi: () => -71 })
    const [a, active, passive] = [host(), host(), host()]
    a.ask(opcode.leSetScanResponse, 2, 9, 8, ...new Uint8Array(29))
    a.advertise([1, 2, 3])
    active.scan(true)
    passive.scan(false)
    run(1000)
    const reports = active.le(leEvent.advertisingReport)
    expect(reports.length).toBeGreaterThan(14)
    expect([...reports[0]!]).toEqual([1, 0, 0, ...a.controller.publicAddress, 3, 1, 2, 3, 256 - 71])
    expect([...reports[1]!]).toEqual([1, 4, 0, ...a.controller.publicAddress, 2, 9, 8, 256 - 71])
    expect(passive.le(leEvent.advertisingReport).every((report) => report[1] === 0)).toBe(true)
    a.ask(opcode.leSetAdvertisingEnable, 0)
    const count = passive.le(leEvent.advertisingReport).length
    run(1000)
    expect(passive.le(leEvent.advertisingReport)).toHaveLength(count)
  })

  test('it hears as much as its window, the losses and the distance let through', () => {
    const { host, run } = testAir({ advertisementLoss: 0.5, rssi: (_, to) => (to === far.controller ? undefined : -60) })
    const [a, half, far] = [host(), host(), host()]
    a.advertise()
    half.scan(false, 0.5)
    far.scan(false)
    run(100_000)
    // About 950 are sent.
    expect(half.le(leEvent.advertisingReport).length).toBeGreaterThan(180)
    expect(half.le(leEvent.advertisingReport).length).toBeLessThan(300)
    expect(far.le(leEvent.advertisingReport)).toHaveLength(0)
  })

  test('duplicates are dropped when asked, until scanning begins anew', () => {
    const { host, run } = testAir()
    const [a, b] = [host(), host()]
    a.advertise([5])
    b.ask(opcode.leSetScanEnable, 1, 1)
    run(1000)
    expect(b.le(leEvent.advertisingReport)).toHaveLength(1)
    b.ask(opcode.leSetScanEnable, 1, 1)
    run(1000)
    expect(b.le(leEvent.advertisingReport)).toHaveLength(2)
  })
})

describe('links', () => {
  test('both ends hear of one, with handles of their own; advertising ends and may begin again', () => {
    const { pair } = testAir()
    const [central, peripheral] = pair()
    expect(central.le(leEvent.connected)[0]!.slice(3, 5)).toEqual(Uint8Array.of(0, 0))
    expect(addressText(central.le(leEvent.connected)[0]!, 5)).toBe(addressText(peripheral.controller.publicAddress))
    expect(peripheral.le(leEvent.connected)[0]![3]).toBe(1)
    expect(central.handle).not.toBe(peripheral.handle)
    expect(peripheral.controller.advertising.on).toBe(false)
    expect(peripheral.advertise()).toBe(hciStatus.success)
  })

  test('a dial waits for its advertisement until it is called off', () => {
    const { host, run } = testAir()
    const [a, b] = [host(), host()]
    expect(a.dial(b)).toBe(hciStatus.success)
    expect(a.dial(b)).toBe(hciStatus.commandDisallowed)
    run(60_000)
    expect(a.le(leEvent.connected)).toHaveLength(0)
    expect(a.ask(opcode.leCancelConnection)).toBe(hciStatus.success)
    run(1)
    expect(a.le(leEvent.connected)[0]![0]).toBe(hciStatus.unknownConnection)
    b.advertise()
    run(1000)
    expect(a.le(leEvent.connected)).toHaveLength(1)
  })

  test('data arrives in order, in pieces, and its buffers come back', () => {
    const { pair, run } = testAir({ bufferCount: 4 })
    const [central, peripheral] = pair()
    for (let i = 0; i < 4; i++) central.send(Uint8Array.of(i, i), i === 0 ? 0 : 1)
    run(1)
    expect(peripheral.data.map(({ handle, flag, data }) => [handle, flag, ...data])).toEqual([0, 1, 2, 3].map((i) => [peripheral.handle, i === 0 ? 2 : 1, i, i]))
    expect(central.completed).toBe(4)
    expect(central.controller.violations).toMatchObject({ overrun: 0, tooLong: 0, unknownHandle: 0 })
  })

  test('a link that lives while thousands come and go keeps its handle for itself', () => {
    const { pair, host, run } = testAir()
    const [central, peripheral] = pair()
    const kept = peripheral.handle
    const other = host()
    for (let i = 0; i < 1900; i++) {
      peripheral.dial(other)
      other.advertise()
      run(1)
      other.ask(opcode.disconnect, ...u16Bytes(other.handle), 0x13)
      run(1)
      if (i % 100 === 0) {
        peripheral.events.length = 0
        other.events.splice(0, other.events.length - 5)
      }
    }
    expect(peripheral.controller.ends.size).toBe(1)
    central.send(Uint8Array.of(42), 0, [...central.controller.ends.keys()][0])
    run(10)
    expect(peripheral.data.at(-1)).toMatchObject({ handle: kept, data: Uint8Array.of(42) })
  })

  test('a host that overruns the buffers, or writes where there is no link, is told or ignored', () => {
    const { pair, run } = testAir({ bufferCount: 2, latencyMs: 5 })
    const [central, peripheral] = pair()
    for (let i = 0; i < 3; i++) central.send(Uint8Array.of(i))
    central.send(new Uint8Array(252))
    central.send(Uint8Array.of(9), 0, 0xabc)
    run(10)
    expect(peripheral.data).toHaveLength(2)
    expect(central.controller.violations).toMatchObject({ overrun: 1, tooLong: 1, unknownHandle: 1 })
    expect(central.events.filter(({ code }) => code === eventCode.dataOverflow)).toHaveLength(1)
  })

  test('an end tells both ends why', () => {
    const { pair, run } = testAir()
    const [central, peripheral] = pair()
    expect(central.ask(opcode.disconnect, ...u16Bytes(central.handle), 0x13)).toBe(hciStatus.success)
    run(1)
    expect(central.disconnections).toEqual([hciStatus.localEnded])
    expect(peripheral.disconnections).toEqual([hciStatus.remoteEnded])
    expect(central.controller.ends.size + peripheral.controller.ends.size).toBe(0)
  })

  test('out of range, a link lives until its supervision timeout, and data that waited is there after a shorter gap', () => {
    let isNear = true
    const { pair, run } = testAir({ rssi: () => (isNear ? -50 : undefined) })
    const [central, peripheral] = pair(12, 100)
    isNear = false
    central.send(Uint8Array.of(1))
    run(500)
    expect(peripheral.data).toHaveLength(0)
    isNear = true
    run(100)
    expect(peripheral.data).toHaveLength(1)
    isNear = false
    run(1600)
    expect([central.disconnections, peripheral.disconnections]).toEqual([[hciStatus.connectionTimeout], [hciStatus.connectionTimeout]])
  })

  test('a reset is silent at the one and a timeout at the other; pulled out, the same', () => {
    const { pair, run } = testAir()
    const [central, peripheral] = pair()
    central.ask(opcode.reset)
    run(10)
    expect(central.disconnections).toEqual([])
    expect(peripheral.disconnections).toEqual([hciStatus.connectionTimeout])
    peripheral.controller.detach()
    expect(peripheral.controller.air.controllers.has(peripheral.controller)).toBe(false)
  })

  test('with connection events and a rate, a packet waits for its event and takes its time', () => {
    const { pair, run, scheduler } = testAir({ connectionEvents: true, bitsPerSecond: 400_000, bufferCount: 64 })
    const [central, peripheral] = pair(12)
    const started = scheduler.now / 1000
    for (let i = 0; i < 40; i++) central.send(new Uint8Array(250))
    run(1000)
    expect(peripheral.data).toHaveLength(40)
    expect(peripheral.data[0]!.at - started).toBeLessThanOrEqual(15 + 5)
    // 10,000 bytes at 400 kbit/s are 200 ms, begun with the next event.
    expect(peripheral.data[39]!.at - started).toBeGreaterThanOrEqual(200)
    expect(peripheral.data[39]!.at - started).toBeLessThanOrEqual(216)
  })

  test('losses of data delay and do not lose', () => {
    const { pair, run } = testAir({ dataLoss: 0.3, bufferCount: 64 })
    const [central, peripheral] = pair()
    for (let i = 0; i < 60; i++) central.send(Uint8Array.of(i))
    run(5000)
    expect(peripheral.data.map(({ data }) => data[0])).toEqual(Array.from({ length: 60 }, (_, i) => i))
    expect(peripheral.data[59]!.at - peripheral.data[0]!.at).toBeGreaterThan(60)
  })

  test('parameters and packet lengths are negotiated for both', () => {
    const { pair, run } = testAir()
    const [central, peripheral] = pair()
    expect(central.ask(opcode.leSetDataLength, ...u16Bytes(central.handle), ...u16Bytes(251), ...u16Bytes(2120))).toBe(hciStatus.success)
    expect(peripheral.ask(opcode.leUpdateConnection, ...u16Bytes(peripheral.handle), 24, 0, 40, 0, 0, 0, 200, 0, 0, 0, 0, 0)).toBe(hciStatus.success)
    run(1)
    expect(peripheral.le(leEvent.dataLengthChanged)[0]!.slice(0, 4)).toEqual(Uint8Array.of(...u16Bytes(peripheral.handle), 251, 0))
    expect(central.le(leEvent.connectionUpdated)[0]!.slice(3)).toEqual(Uint8Array.of(40, 0, 0, 0, 200, 0))
  })

  test('no more links than a controller has room for', () => {
    const { host, run } = testAir({ linkCountMax: 2 })
    const hosts = [host(), host(), host(), host()]
    const centre = hosts[0]!
    for (const other of hosts.slice(1)) {
      centre.advertise()
      other.dial(centre)
      run(500)
    }
    expect(centre.controller.ends.size).toBe(2)
    expect(hosts[3]!.le(leEvent.connected)).toHaveLength(0)
  })
})
