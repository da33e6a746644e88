import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat } from '../../../../src/core/base/bytes.ts'
import { BATCH_SIZE, IpcBatchPool, IpcOutbox, IpcSlice } from '../../../../src/core/wire/ipc/ipc-outbox.ts'
import { RetainedMessages, RetainedView } from '../../../../src/core/wire/ipc/ipc-retained.ts'
import { IpcFrameReader } from '../../../../src/core/wire/ipc/ipc-reader.ts'

const LIMITS = { json: 262_144, message: 1_048_576 }

type Step =
  | { readonly kind: 'message'; readonly size: number }
  | { readonly kind: 'json'; readonly size: number }
  | { readonly kind: 'credit' }
  | { readonly kind: 'take' }
  | { readonly kind: 'sent' }
  | { readonly kind: 'drop' }

const steps: fc.Arbitrary<Step[]> = fc.array(fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('message' as const), size: fc.oneof(fc.nat(300), fc.nat(140_000)) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('json' as const), size: fc.nat(3000) }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'credit' as const }) },
  { weight: 5, arbitrary: fc.constant({ kind: 'take' as const }) },
  { weight: 5, arbitrary: fc.constant({ kind: 'sent' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'drop' as const }) },
), { maxLength: 60 })

/** Runs steps, drains, and gives what was written, as frame kinds with body lengths. */
function run(list: readonly Step[], withDrops: boolean): { written: string[]; appended: string[]; outbox: IpcOutbox; readable: boolean } {
  const outbox = new IpcOutbox(new IpcBatchPool())
  const slice = new IpcSlice()
  const written: Uint8Array[] = []
  const appended: string[] = []
  let lent = false
  const take = (): void => {
    if (!outbox.take(slice)) return
    expect(slice.length).toBeGreaterThan(0)
    expect(slice.length).toBeLessThanOrEqual(BATCH_SIZE)
    lent = true
    written.push(slice.bytes.slice(slice.offset, slice.offset + slice.length))
  }
  const sent = (): void => {
    if (lent) outbox.sent()
    lent = false
  }
  for (const step of list) {
    if (step.kind === 'message') {
      outbox.appendMessage(1, 0, 255, 2, 3, new Uint8Array(step.size).fill(step.size), 0, step.size)
      appended.push(`1:${step.size + 16}`)
    } else if (step.kind === 'json') {
      outbox.appendJson(new Uint8Array(step.size), true)
      appended.push(`0:${step.size}`)
    } else if (step.kind === 'credit') {
      outbox.appendCredit(1, 1)
      appended.push('2:8')
    } else if (step.kind === 'take') take()
    else if (step.kind === 'sent') sent()
    else if (withDrops) outbox.dropQueued()
  }
  sent()
  while (outbox.size > 0) {
    take()
    sent()
  }
  const reader = new IpcFrameReader(LIMITS)
  reader.push(concat(...written))
  const read: string[] = []
  let result = reader.next()
  for (; result === 'frame'; result = reader.next()) read.push(`${reader.kind}:${reader.length}`)
  return { written: read, appended, outbox, readable: result === 'more' && !reader.midFrame }
}

describe('frames on their way to a socket', () => {
  it('come out in order, whatever is appended while a piece is lent', () => {
    fc.assert(fc.property(steps, (list) => {
      const { written, appended, outbox } = run(list, false)
      expect(written).toEqual(appended)
      expect([outbox.size, outbox.events]).toEqual([0, 0])
    }), { numRuns: 300 })
  })

  it('stay whole when those not begun are dropped', () => {
    fc.assert(fc.property(steps, (list) => {
      const { written, appended, outbox, readable } = run(list, true)
      expect(readable).toBe(true)
      expect([outbox.size, outbox.events]).toEqual([0, 0])
      // What came out is a subsequence of what went in.
      let at = 0
      for (const entry of written) {
        at = appended.indexOf(entry, at) + 1
        expect(at).toBeGreaterThan(0)
      }
    }), { numRuns: 300 })
  })

  it('are counted until they are sent', () => {
    const outbox = new IpcOutbox(new IpcBatchPool())
    const slice = new IpcSlice()
    outbox.appendJson(new Uint8Array(10), true)
    outbox.appendCredit(1, 1)
    expect([outbox.size, outbox.events]).toEqual([28, 1])
    expect(outbox.take(slice)).toBe(true)
    expect(outbox.take(slice)).toBe(false)
    outbox.appendCredit(1, 1)
    outbox.sent()
    expect(outbox.size).toBe(13)
    outbox.clear()
    expect([outbox.size, outbox.take(slice)]).toEqual([0, false])
  })

  it('use their buffers again', () => {
    const pool = new IpcBatchPool()
    const outbox = new IpcOutbox(pool)
    const slice = new IpcSlice()
    const seen = new Set<Uint8Array>()
    for (let i = 0; i < 100; i++) {
      outbox.appendCredit(1, i)
      outbox.take(slice)
      seen.add(slice.bytes)
      outbox.sent()
    }
    expect(seen.size).toBe(1)
  })

  it('of a run are those that its messages would make one by one, and are kept the same', () => {
    const lengths = fc.array(fc.oneof({ weight: 200, arbitrary: fc.nat(300) }, { weight: 1, arbitrary: fc.integer({ min: 60_000, max: 140_000 }) }), { minLength: 1, maxLength: 800 })
    fc.assert(fc.property(fc.array(lengths, { minLength: 1, maxLength: 3 }), fc.nat(9), fc.boolean(), (runs, gap, scattered) => {
      const [together, apart] = [new IpcOutbox(new IpcBatchPool()), new IpcOutbox(new IpcBatchPool())]
      const [keptTogether, keptApart] = [new RetainedMessages(), new RetainedMessages()]
      let id = 0xffff_fff0
      for (const list of runs) {
        const order = scattered ? list.map((_, i) => (i * 7) % list.length) : list.map((_, i) => i)
        const total = list.reduce((sum, length) => sum + length + gap, 0)
        const source = new Uint8Array(total).map((_, i) => i * 31 + (i >> 8))
        const rows = { offset: new Int32Array(list.length), length: Int32Array.from(list) }
        let at = 0
        for (const i of new Set(order)) {
          rows.offset[i] = at
          at += list[i]! + gap
        }
        together.appendRun(5, 6, id, source, rows, 0, list.length, keptTogether)
        for (const [i, length] of list.entries()) {
          apart.appendMessage(5, 0, 255, 6, id, source, rows.offset[i]!, length)
          keptApart.push(true, 0, 255, 0, source, rows.offset[i]!, length)
          id = (id + 1) >>> 0
        }
      }
      expect(together.size).toBe(apart.size)
      expect(Buffer.compare(drained(together), drained(apart))).toBe(0)
      expect([keptTogether.count, keptTogether.cost, keptTogether.unsent]).toEqual([keptApart.count, keptApart.cost, 0])
      for (const kept of [keptTogether, keptApart]) {
        kept.credit(100)
        kept.rewind(2)
      }
      expect(messagesOf(keptTogether)).toEqual(messagesOf(keptApart))
    }), { numRuns: 60 })
  })
})

function drained(outbox: IpcOutbox): Uint8Array {
  const pieces: Uint8Array[] = []
  const slice = new IpcSlice()
  while (outbox.take(slice)) {
    pieces.push(slice.bytes.slice(slice.offset, slice.offset + slice.length))
    outbox.sent()
  }
  return concat(...pieces)
}

function messagesOf(kept: RetainedMessages): string[] {
  const view = new RetainedView()
  const messages: string[] = []
  while (kept.next(view)) messages.push(`${view.flags} ${view.lane} ${Buffer.from(view.bytes.subarray(view.offset, view.offset + view.length)).toString('base64')}`)
  return messages
}
