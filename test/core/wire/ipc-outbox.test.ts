import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat } from '../../../src/core/base/bytes.ts'
import { BATCH_SIZE, IpcBatchPool, IpcOutbox, IpcSlice } from '../../../src/core/wire/ipc-outbox.ts'
import { IpcFrameReader } from '../../../src/core/wire/ipc-reader.ts'

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
})
