import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat } from '../../../../src/core/base/bytes.ts'
import { boundary, encodeAcl, encodeHciEvent, eventCode, leEvent, opcode, u16Bytes } from '../../../../src/core/wire/hci.ts'
import type { DropReason } from '../../../../src/net/ble/backend.ts'
import { l2capFrame } from '../../../../src/net/ble/hci/acl.ts'
import { HciHost, type HciLink } from '../../../../src/net/ble/hci/host.ts'
import { BUFFERS, PlayedController, PlayedTime } from './played-controller.ts'

const HONEST = 0x40
const address = Uint8Array.of(9, 8, 7, 6, 5, 0x44)

/** A host that has begun, with one link that nobody lies about, and everything it tells. */
class Scene {
  readonly controller = new PlayedController()
  readonly time = new PlayedTime()
  readonly links = new Map<number, HciLink>()
  readonly honest: Uint8Array[] = []
  readonly drops: DropReason[] = []
  sent = 0
  failure: string | undefined
  readonly host: HciHost

  constructor() {
    this.host = new HciHost(this.controller, {
      opened: (link) => void this.links.set(link.handle, link),
      notOpened: () => undefined,
      closed: (link) => void this.links.delete(link.handle),
      received: (link, _, payload) => {
        if (link.handle === HONEST) this.honest.push(payload)
      },
      sent: (link, values) => {
        if (link.handle === HONEST) this.sent += values
      },
      reports: () => undefined,
      linkEvent: () => undefined,
      dropped: (reason) => void this.drops.push(reason),
      failed: (why) => void (this.failure = why),
    }, this.time)
  }

  static async begun(): Promise<Scene> {
    const scene = new Scene()
    await scene.host.begin()
    scene.controller.connected(HONEST, 'peripheral', address)
    return scene
  }
}

const others = fc.integer({ min: 0x41, max: 0x45 })
/** A handle of anybody but the honest one, also with bits that mean nothing. */
const handle = fc.oneof({ weight: 4, arbitrary: others }, fc.integer({ min: 0x41, max: 0xffff }).filter((n) => (n & 0xfff) !== HONEST))
const tail = fc.uint8Array({ maxLength: 24 })

/** What a controller that has lost its mind might say, but for commands it was never given: those are below. */
const nonsense: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 60 }).filter((bytes) => bytes[0] !== 2 && bytes[0] !== 4),
  fc.tuple(fc.constantFrom(2, 4), fc.uint8Array({ maxLength: 3 })).map(([type, bytes]) => concat(Uint8Array.of(type), bytes)).filter((bytes) => bytes.length !== 3 || bytes[2] !== 0),
  // Data of any link, in pieces of any kind.
  fc.tuple(handle, fc.nat(3), fc.uint8Array({ maxLength: 300 })).map(([of, flag, data]) => encodeAcl(of & 0xfff, flag, data)),
  fc.tuple(others, fc.nat(2000), tail).map(([of, length, data]) => encodeAcl(of, boundary.first, concat(u16Bytes(length), u16Bytes(4), data))),
  // Ends, completions, links and changes.
  fc.tuple(handle, tail).map(([of, more]) => encodeHciEvent(eventCode.disconnected, Uint8Array.of(0), u16Bytes(of), more)),
  fc.array(fc.tuple(handle, fc.nat(0xffff)), { maxLength: 6 }).chain((list) => fc.nat(8).map((count) =>
    encodeHciEvent(eventCode.completedPackets, Uint8Array.of(count), ...list.map(([of, done]) => concat(u16Bytes(of), u16Bytes(done)))))),
  fc.tuple(fc.constantFrom(0, 0, 0x3e), handle, fc.nat(3), fc.uint8Array({ minLength: 6, maxLength: 6 }), tail).map(([status, of, role, who, more]) =>
    encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.connected, status), u16Bytes(of), Uint8Array.of(role, 1), who, more)),
  fc.tuple(fc.constantFrom(leEvent.connectionUpdated, leEvent.advertisingReport, leEvent.dataLengthChanged, leEvent.enhancedConnected, 0x0d, 0xff), tail).map(([code, more]) => encodeHciEvent(eventCode.leMeta, Uint8Array.of(code), more)),
  fc.tuple(fc.constantFrom(eventCode.encryptionChanged, eventCode.remoteVersion, eventCode.dataOverflow, 0, 0xff), tail).map(([code, more]) => encodeHciEvent(code, more)),
  // Answers to nothing, with room that there is not.
  fc.tuple(fc.nat(255), fc.nat(0xffff).filter((code) => code !== opcode.disconnect && code !== opcode.readRssi && code !== 0), tail).map(([room, code, more]) =>
    encodeHciEvent(eventCode.commandComplete, Uint8Array.of(Math.max(1, room)), u16Bytes(code), more)),
  fc.tuple(fc.nat(255), fc.nat(0xffff).filter((code) => code !== opcode.disconnect && code !== opcode.readRssi && code !== 0)).map(([status, code]) =>
    encodeHciEvent(eventCode.commandStatus, Uint8Array.of(status, 1), u16Bytes(code))),
  fc.constantFrom(encodeHciEvent(eventCode.commandComplete), encodeHciEvent(eventCode.commandStatus, Uint8Array.of(0)), encodeHciEvent(eventCode.leMeta), encodeHciEvent(eventCode.disconnected)),
)

/** What the host is asked for meanwhile. */
const deed = fc.oneof(
  fc.tuple(handle, fc.nat(300)).map(([of, size]) => (host: HciHost) => host.send(of & 0xfff, 4, new Uint8Array(size), true)),
  handle.map((of) => (host: HciHost) => host.disconnect(of & 0xfff)),
  handle.map((of) => (host: HciHost) => host.command(opcode.readRssi, u16Bytes(of), () => undefined)),
)

describe('whatever a controller says', () => {
  test('nothing is thrown, its buffers are not overrun, and a link it does not lie about carries everything in order', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.oneof({ weight: 4, arbitrary: nonsense }, { weight: 1, arbitrary: deed }), { maxLength: 80 }), fc.integer({ min: 4, max: 60 }), async (said, size) => {
      const scene = await Scene.begun()
      const { controller, host } = scene
      const expected: Uint8Array[] = []
      let number = 0
      let given = 0
      for (const each of said) {
        const piece = Uint8Array.of(number & 0xff, ...new Uint8Array(number % 90))
        number++
        expected.push(piece)
        const bytes = l2capFrame(4, piece)
        // The pieces of an honest frame have nonsense between them.
        controller.say(encodeAcl(HONEST, boundary.first, bytes.subarray(0, Math.min(size, bytes.length))))
        if (each instanceof Uint8Array) controller.say(each.slice())
        else each(host)
        for (let at = size; at < bytes.length; at += size) controller.say(encodeAcl(HONEST, boundary.continuing, bytes.subarray(at, at + size)))
        await Promise.resolve()
        if (given < 50) {
          host.send(HONEST, 4, Uint8Array.of(0x1b, 0, 0, number & 0xff), true)
          given++
        }
      }
      await scene.time.pass(1)
      expect(scene.failure).toBeUndefined()
      expect(scene.honest).toEqual(expected)
      expect(scene.sent).toBe(given)
      expect((controller.frames.get(HONEST) ?? []).map(({ payload }) => payload[3])).toEqual(Array.from({ length: given }, (_, i) => (i + 1) & 0xff))
      expect(scene.links.has(HONEST)).toBe(true)
      host.close()
      expect(scene.time.waiting).toBe(0)
    }), { numRuns: 150 })
  })

  test('never more pieces than it has buffers, though it gives back more than it had', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(HONEST, 0x41, 0x42), fc.nat(9), fc.integer({ min: 1, max: 600 })), { minLength: 1, maxLength: 40 }), async (steps) => {
      const { controller, host, drops } = await Scene.begun()
      controller.completes = false
      for (const of of [0x41, 0x42]) controller.connected(of, 'peripheral', address)
      let lies = 0
      for (const [of, done, size] of steps) {
        host.send(of, 4, new Uint8Array(size), true)
        if (done > (controller.heldOf.get(of) ?? 0)) lies++
        if (done > 0) controller.completePieces(of, done)
      }
      expect(controller.heldMost).toBeLessThanOrEqual(BUFFERS)
      expect(drops).toEqual(Array.from({ length: lies }, () => 'hci'))
      host.close()
    }), { numRuns: 200 })
  })

  test('what makes no sense is counted, each packet once', async () => {
    const { controller, host, drops } = await Scene.begun()
    const packets: readonly (readonly [string, Uint8Array])[] = [
      ['nothing', new Uint8Array(0)], ['a command', Uint8Array.of(1, 3, 12, 0)], ['of no type', Uint8Array.of(9, 9, 9)],
      ['half a header', Uint8Array.of(4, 5)], ['an event longer than it says', Uint8Array.of(4, 0xff, 0, 1)], ['one shorter', Uint8Array.of(4, 0xff, 2, 1)],
      ['data without a header', Uint8Array.of(2, 0x40, 0)], ['data longer than it says', concat(encodeAcl(HONEST, 2, Uint8Array.of(1, 0, 4, 0, 7)), Uint8Array.of(0))],
      ['data of no link', encodeAcl(0x77, 2, Uint8Array.of(1, 0, 4, 0, 7))],
      ['an answer without a command', encodeHciEvent(eventCode.commandComplete, Uint8Array.of(1))], ['one without a status', encodeHciEvent(eventCode.commandComplete, Uint8Array.of(1, 3, 12))],
      ['an answer to nothing', encodeHciEvent(eventCode.commandComplete, Uint8Array.of(1, 3, 12, 0))], ['a status of nothing', encodeHciEvent(eventCode.commandStatus, Uint8Array.of(0, 1, 6, 4))],
      ['a status cut short', encodeHciEvent(eventCode.commandStatus, Uint8Array.of(0, 1, 6))], ['an end cut short', encodeHciEvent(eventCode.disconnected, Uint8Array.of(0, HONEST, 0))],
      ['completions without a number', encodeHciEvent(eventCode.completedPackets)], ['fewer than their number', encodeHciEvent(eventCode.completedPackets, Uint8Array.of(2, HONEST, 0, 0, 0))],
      ['of no link', encodeHciEvent(eventCode.completedPackets, Uint8Array.of(1, 0x77, 0, 0, 0))], ['of pieces it never had', encodeHciEvent(eventCode.completedPackets, Uint8Array.of(1, HONEST, 0, 1, 0))],
      ['a link cut short', encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.connected, 0, 0x50, 0))],
      ['a link in no role', encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.connected, 0, 0x50, 0, 2, 1), new Uint8Array(13))],
      ['a link that is there', encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.connected, 0, HONEST, 0, 1, 1), new Uint8Array(13))],
      ['a change cut short', encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.connectionUpdated, 0, HONEST, 0))], ['of no link', encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.connectionUpdated, 0, 0x77), new Uint8Array(7))],
      ['encryption of no link', encodeHciEvent(eventCode.encryptionChanged, Uint8Array.of(0, 0x77, 0, 1))], ['cut short', encodeHciEvent(eventCode.encryptionChanged, Uint8Array.of(0, HONEST))],
      ['reports without a number', encodeHciEvent(eventCode.leMeta, Uint8Array.of(leEvent.advertisingReport))],
    ]
    for (const [i, [what, packet]] of packets.entries()) {
      controller.say(packet)
      expect(drops.length, what).toBe(i + 1)
    }
    // A word that there is room again, and events that are somebody else's, are nothing wrong.
    for (const packet of [encodeHciEvent(eventCode.commandComplete, Uint8Array.of(1, 0, 0)), encodeHciEvent(0xff, Uint8Array.of(1)), encodeHciEvent(eventCode.leMeta, Uint8Array.of(0x0d, 1))]) controller.say(packet)
    expect(drops).toHaveLength(packets.length)
    expect(new Set(drops)).toEqual(new Set(['hci']))
    host.close()
  })

  test('handles are compared by the bits that mean something', async () => {
    const { controller, host, links } = await Scene.begun()
    controller.connected(0xf041, 'peripheral', address)
    expect([...links.keys()]).toEqual([HONEST, 0x41])
    controller.disconnected(0x5041)
    expect([...links.keys()]).toEqual([HONEST])
    host.close()
  })

  test('a failure in the middle of a call is told when the call has returned, and leaves no link behind', async () => {
    const scene = await Scene.begun()
    scene.controller.onCommand = () => undefined
    for (let i = 0; i < 65; i++) scene.host.command(opcode.readRssi, u16Bytes(HONEST), () => undefined)
    expect(scene.failure).toBeUndefined()
    scene.controller.connected(0x41, 'central', address)
    expect(scene.failure).toBeUndefined()
    await scene.time.pass(0)
    expect(scene.failure).toBe('the adapter has not answered for too many commands')
    expect(scene.time.waiting).toBe(0)
  })
})
