import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Arena, BLOCK_MIN } from '../../../src/core/base/arena.ts'

const KIB = 1024

describe('Arena', () => {
  it('against a model: blocks never overlap, are aligned, counted, and all of it comes back as whole blocks', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('allocate' as const), size: fc.oneof(fc.nat({ max: 9000 }), fc.constantFrom(0, 1, 1024, 1025, 2048, 65_536, 131_072, 200_000)) }),
      fc.record({ kind: fc.constantFrom('retain' as const, 'release' as const, 'release' as const), size: fc.nat({ max: 1000 }) }),
    )
    fc.assert(fc.property(fc.constantFrom(64, 192, 256, 320), fc.array(step, { maxLength: 200 }), (kib, steps) => {
      const arena = new Arena(kib * KIB)
      const blocks: Block[] = []
      for (const { kind, size } of steps) {
        if (kind === 'allocate') allocate(arena, blocks, size)
        else if (blocks.length > 0) holdOrRelease(arena, blocks, size % blocks.length, kind)
        const used = blocks.reduce((sum, block) => sum + block.size, 0)
        expect([arena.used, arena.free]).toEqual([used, kib * KIB - used])
      }
      while (blocks.length > 0) holdOrRelease(arena, blocks, 0, 'release')
      // Everything coalesced: the whole capacity can be had in the largest blocks.
      for (let taken = 0; taken < kib * KIB; taken += arena.blockMax) expect(arena.allocate(arena.blockMax)).toBeGreaterThanOrEqual(0)
      expect([arena.free, arena.allocate(1)]).toEqual([0, -1])
    }))
  })

  it('keeps what is written into a block while others come and go', () => {
    const arena = new Arena(64 * KIB)
    const block = arena.allocate(3000)
    arena.bytes.fill(0x5a, block, block + 3000)
    const others = [arena.allocate(1000), arena.allocate(5000), arena.allocate(20_000)]
    for (const other of others) arena.bytes.fill(0xff, other, other + arena.sizeOf(other))
    for (const other of others) arena.release(other)
    expect(arena.bytes.subarray(block, block + 3000).every((byte) => byte === 0x5a)).toBe(true)
  })

  it('frees with the last holder and says how much', () => {
    const arena = new Arena(64 * KIB)
    const block = arena.allocate(2000)
    arena.retain(block)
    arena.retain(block)
    expect([arena.release(block), arena.release(block), arena.used, arena.release(block), arena.used]).toEqual([0, 0, 2048, 2048, 0])
  })

  it('asserts on a second release and on capacities it cannot serve', () => {
    const arena = new Arena(64 * KIB)
    const block = arena.allocate(1)
    arena.release(block)
    expect(() => arena.release(block)).toThrow('released block is taken')
    for (const capacity of [0, -65_536, 65_535, 2 ** 31]) expect(() => new Arena(capacity)).toThrow('arena capacity')
  })

  it('serves at most the largest power of two that divides its capacity', () => {
    expect([new Arena(64 * KIB).blockMax, new Arena(192 * KIB).blockMax, new Arena(32 * KIB * KIB).blockMax]).toEqual([64 * KIB, 64 * KIB, 16 * KIB * KIB])
    expect(new Arena(192 * KIB).allocate(64 * KIB + 1)).toBe(-1)
  })
})

interface Block { readonly offset: number; readonly size: number; references: number }

function allocate(arena: Arena, blocks: Block[], size: number): void {
  const offset = arena.allocate(size)
  const wanted = Math.max(BLOCK_MIN, 2 ** Math.ceil(Math.log2(Math.max(1, size))))
  if (offset < 0) {
    expect(fits(arena, blocks, wanted)).toBe(false)
    return
  }
  expect(arena.sizeOf(offset)).toBe(wanted)
  expect(offset % wanted).toBe(0)
  expect(offset + wanted).toBeLessThanOrEqual(arena.capacity)
  for (const block of blocks) expect(offset + wanted <= block.offset || block.offset + block.size <= offset).toBe(true)
  blocks.push({ offset, size: wanted, references: 1 })
}

/** Whether some aligned stretch of `size` bytes is free: then the arena must not have refused. */
function fits(arena: Arena, blocks: readonly Block[], size: number): boolean {
  if (size > arena.blockMax) return false
  for (let offset = 0; offset + size <= arena.capacity; offset += size) {
    if (blocks.every((block) => offset + size <= block.offset || block.offset + block.size <= offset)) return true
  }
  return false
}

function holdOrRelease(arena: Arena, blocks: Block[], index: number, kind: 'retain' | 'release'): void {
  const block = blocks[index]!
  if (kind === 'retain') {
    arena.retain(block.offset)
    block.references++
    return
  }
  block.references--
  expect(arena.release(block.offset)).toBe(block.references === 0 ? block.size : 0)
  if (block.references === 0) blocks.splice(index, 1)
}
