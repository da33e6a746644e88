import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toInstant } from '../../../src/core/base/time.ts'
import { PACKET_ACKED, PACKET_LOST, PACKET_NONE, PACKET_PROBED, PACKET_SENT, PACKET_SKIPPED, RECORD_RUN, SentPackets, TRACKED_MAX } from '../../../src/core/flow/sent-packets.ts'

interface Packet { readonly time: number; readonly size: number; readonly path: number; readonly frames: readonly number[]; state: number }

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('send' as const), tracked: fc.boolean(), frames: fc.array(fc.nat(1000), { maxLength: 4 }), skip: fc.integer({ min: 0, max: 9 }).map((n) => n === 0) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('settle' as const), which: fc.nat(), to: fc.constantFrom(PACKET_ACKED, PACKET_LOST, PACKET_PROBED) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('advance' as const), keep: fc.nat(50) }) },
)

function inFlight({ state }: Packet): boolean {
  return state === PACKET_SENT || state === PACKET_PROBED
}

function send(sent: SentPackets, model: Packet[], time: number, tracked: boolean, frames: readonly number[], skip: boolean): void {
  const mark = sent.frameMark
  for (const frame of frames) sent.addFrame(RECORD_RUN, 7, frame, frame + 1, frame + 2)
  if (skip) {
    sent.pushSkippedBefore(mark)
    model.push({ time: 0, size: 0, path: 0, frames: [], state: PACKET_SKIPPED })
  }
  sent.push(toInstant(time), 100 + time, time % 3, time, mark, time - 5, tracked)
  model.push({ time, size: 100 + time, path: time % 3, frames, state: tracked ? PACKET_SENT : PACKET_NONE })
}

describe('SentPackets', () => {
  it('remembers every packet and its frames until it is settled, against an array', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const sent = new SentPackets()
      const model: Packet[] = []
      let time = 0
      for (const each of steps) {
        time++
        if (each.do === 'send') send(sent, model, time, each.tracked, each.frames, each.skip)
        else if (each.do === 'advance') {
          sent.advanceFirstSent()
          sent.advanceBase(toInstant(time - each.keep))
          // Everything forgotten was settled, and the first that stays is not, or was lost a short while ago.
          expect(model.slice(0, sent.base).filter(inFlight)).toEqual([])
          const first = model[sent.base]
          expect(first === undefined || inFlight(first) || (first.state === PACKET_LOST && first.time > time - each.keep)).toBe(true)
        } else {
          const flying = model.map((packet, order) => ({ packet, order })).filter(({ packet }) => inFlight(packet))
          const chosen = flying[each.which % Math.max(1, flying.length)]
          if (chosen === undefined) continue
          chosen.packet.state = each.to
          sent.setState(chosen.order, each.to)
        }
      }
      expect(sent.next).toBe(model.length)
      const firstFlying = model.findIndex(inFlight)
      sent.advanceFirstSent()
      expect(sent.firstSent).toBe(firstFlying < 0 ? model.length : firstFlying)
      for (let order = sent.base; order < sent.next; order++) compare(sent, order, model[order]!)
    }), { numRuns: 200 })
  })

  it('has room for so many packets in flight, and for as many mere acknowledgements beyond', () => {
    const sent = new SentPackets()
    for (let i = 0; i < TRACKED_MAX; i++) {
      expect([sent.room, sent.full]).toEqual([true, false])
      sent.push(toInstant(i), 100, 0, i, sent.frameMark, -1, true)
    }
    expect(sent.room).toBe(false)
    for (let i = 0; i < TRACKED_MAX; i++) sent.push(toInstant(i), 100, 0, i, sent.frameMark, -1, false)
    expect(sent.full).toBe(true)
    for (let order = 0; order < sent.next; order++) sent.setState(order, PACKET_ACKED)
    sent.advanceBase(toInstant(0))
    expect([sent.tracked, sent.room, sent.firstSent]).toEqual([0, true, 2 * TRACKED_MAX])
    sent.shrink()
    send(sent, [], 1, true, [5], false)
    expect([sent.tracked, sent.frameCount(sent.base), sent.frames[sent.frameAt(sent.base, 0) + 2]]).toEqual([1, 1, 5])
  })
})

function compare(sent: SentPackets, order: number, packet: Packet): void {
  expect([sent.state(order), sent.frameCount(order)]).toEqual([packet.state, packet.frames.length])
  if (packet.state === PACKET_SKIPPED) return
  expect([sent.time(order), sent.size(order), sent.path(order), sent.pathSequence(order), sent.ackLargest(order)])
    .toEqual([packet.time, packet.size, packet.path, packet.time, packet.time - 5])
  packet.frames.forEach((frame, k) => {
    const at = sent.frameAt(order, k)
    expect([...sent.frames.subarray(at, at + 5)]).toEqual([RECORD_RUN, 7, frame, frame + 1, frame + 2])
  })
}
