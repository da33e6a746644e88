import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../../src/core/base/arena.ts'
import { MemoryAccount } from '../../../src/core/base/memory-account.ts'
import { MessageRun } from '../../../src/core/base/message-run.ts'
import { Pieces } from '../../../src/core/base/pieces.ts'
import { toInstant } from '../../../src/core/base/time.ts'
import { SendCount, SendQueue } from '../../../src/core/flow/send-queue.ts'
import { TELL_DROP } from '../../../src/core/flow/send-ring.ts'
import { SentPackets } from '../../../src/core/flow/sent-packets.ts'

const now = toInstant(1)

class Queue {
  readonly arena = new Arena(1 << 20)
  readonly log = new SentPackets()
  readonly dropped: number[] = []
  readonly queue = new SendQueue(
    4, { repeats: true, charged: false, latest: false }, new SendCount(), 0, 0, new MemoryAccount(this.arena),
    { onMessageDelivered: () => undefined, onMessageDropped: (_lane, _reason, tag) => this.dropped.push(tag) },
  )

  /** What goes into one datagram of this size. */
  pack(size: number): Uint8Array {
    const bytes = this.arena.bytes
    const at = this.arena.allocate(65_536)
    const end = this.queue.packNew(new Pieces(bytes, 0), at, at + size, size, Infinity, size, this.log, now)
    const written = bytes.slice(at, end)
    this.arena.release(at)
    return written
  }
}

/** The messages with seven bytes of something else before each. */
function runOf(lengths: readonly number[], tagged: boolean): MessageRun {
  const run = new MessageRun(64)
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length + 7, 0)).map((_, i) => i * 31)
  run.begin(bytes)
  let at = 0
  for (const [i, length] of lengths.entries()) {
    run.add(at + 7, length, tagged ? i + 1 : 0)
    at += 7 + length
  }
  return run
}

describe('a run of messages', () => {
  it('is queued as its messages would be one by one', () => {
    const lengths = fc.array(fc.oneof({ weight: 6, arbitrary: fc.nat(200) }, { weight: 1, arbitrary: fc.integer({ min: 15_000, max: 20_000 }) }), { minLength: 1, maxLength: 60 })
    fc.assert(fc.property(fc.array(lengths, { minLength: 1, maxLength: 4 }), fc.boolean(), fc.nat(3000), (runs, tagged, size) => {
      const [together, apart] = [new Queue(), new Queue()]
      for (const lengths of runs) {
        const run = runOf(lengths, tagged)
        for (let from = 0; from < run.count;) {
          const taken = together.queue.pushRun(run, from, run.count - from, from)
          // One that is too large to share a block is pushed by itself.
          if (taken === 0) expect(together.queue.push(run.bytes, run.offset[from]!, run.length[from]!, run.tag[from], tagged ? TELL_DROP : 0)).toBe(true)
          if (taken === 0) expect(run.length[from]).toBeGreaterThan(16_384)
          from += Math.max(taken, 1)
        }
        for (let i = 0; i < run.count; i++) apart.queue.push(run.bytes, run.offset[i]!, run.length[i]!, run.tag[i], tagged ? TELL_DROP : 0)
        expect(together.queue).toMatchObject({ messages: apart.queue.messages, unsent: apart.queue.unsent, bytes: apart.queue.bytes })
        expect(together.pack(size + 300)).toEqual(apart.pack(size + 300))
      }
      together.queue.clear(1)
      apart.queue.clear(1)
      expect(together.dropped).toEqual(apart.dropped)
      expect(together.queue.released).toBe(apart.queue.released)
      expect(together.arena.used).toBe(0)
    }), { numRuns: 300 })
  })

  it('takes nothing where the arena has no room', () => {
    const { arena, queue } = new Queue()
    while (arena.allocate(1024) >= 0);
    expect(queue.pushRun(runOf([10, 20], true), 0, 2, 0)).toBe(0)
    expect(queue.messages).toBe(0)
  })
})
