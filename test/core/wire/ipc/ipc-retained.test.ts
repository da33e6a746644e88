import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isTagAfter, RetainedMessages, RetainedView, tagAfter, tagDistance } from '../../../../src/core/wire/ipc/ipc-retained.ts'

interface Plain {
  readonly bytes: number[]
  flags: number
  readonly lane: number
  readonly word: number
  sent: boolean
}

/** The same in an array. */
class Model {
  messages: Plain[] = []
  credited = 0

  credit(cost: number): void {
    this.credited += cost
    while (this.messages[0]?.sent === true && this.credited >= this.messages[0].bytes.length + 32) this.credited -= this.messages.shift()!.bytes.length + 32
  }
}

const action = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const), size: fc.oneof(fc.nat(60), fc.nat(9000)), flags: fc.nat(1), lane: fc.nat(255), word: fc.nat(0xffff_ffff) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('credit' as const), cost: fc.oneof(fc.nat(200), fc.nat(20_000)) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('next' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rewind' as const), flags: fc.constant(2) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), count: fc.nat(8) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('foreign' as const), cost: fc.nat(500) }) },
)

describe('retained messages', () => {
  it('are what an array would be', () => {
    fc.assert(fc.property(fc.array(action, { maxLength: 120 }), (actions) => {
      const retained = new RetainedMessages()
      const model = new Model()
      const view = new RetainedView()
      let n = 0
      for (const step of actions) {
        if (step.kind === 'push') {
          const source = new Uint8Array(step.size + 5).map(() => n++)
          const sent = retained.unsent === 0
          retained.push(sent, step.flags, step.lane, step.word, source, 3, step.size)
          model.messages.push({ bytes: [...source.subarray(3, 3 + step.size)], flags: step.flags, lane: step.lane, word: step.word, sent })
        } else if (step.kind === 'credit') {
          retained.credit(step.cost)
          model.credit(step.cost)
        } else if (step.kind === 'next') {
          const first = model.messages.find(({ sent }) => !sent)
          expect(retained.next(view)).toBe(first !== undefined)
          if (first === undefined) continue
          first.sent = true
          expect({ bytes: [...view.bytes.subarray(view.offset, view.offset + view.length)], flags: view.flags, lane: view.lane, word: view.word, sent: true }).toEqual(first)
        } else if (step.kind === 'rewind') {
          retained.rewind(step.flags)
          for (const message of model.messages) {
            if (message.sent) message.flags |= step.flags
            message.sent = false
          }
        } else if (step.kind === 'drop') {
          retained.drop(step.count)
          for (let i = 0; i < step.count && model.messages[0]?.sent === true; i++) {
            model.messages.shift()
            model.credited = Math.min(model.credited, 0)
          }
        } else {
          retained.expectForeignCredit(step.cost)
          model.credited = -step.cost
        }
        expect([retained.count, retained.unsent]).toEqual([model.messages.length, model.messages.filter(({ sent }) => !sent).length])
        expect(retained.cost).toBe(model.messages.reduce((sum, { bytes }) => sum + bytes.length + 32, 0))
      }
    }), { numRuns: 300 })
  })
})

describe('tags', () => {
  it('go round without 0', () => {
    expect([tagAfter(1), tagAfter(0xffff_ffff), tagAfter(1, -1), tagAfter(0xffff_fffe, 3)]).toEqual([2, 1, 0xffff_ffff, 2])
    expect([isTagAfter(2, 1), isTagAfter(1, 2), isTagAfter(1, 0xffff_ffff), isTagAfter(0xffff_ffff, 1), isTagAfter(7, 7)]).toEqual([true, false, true, false, false])
    expect([tagDistance(1, 4), tagDistance(0xffff_fffe, 2)]).toEqual([3, 3])
  })
})
