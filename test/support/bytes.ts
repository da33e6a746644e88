import fc from 'fast-check'
import { fromHex } from '../../src/core/base/bytes.ts'

/** Bytes of a hexadecimal literal, blanks ignored. */
export function hex(text: string): Uint8Array {
  const bytes = fromHex(text.replace(/\s+/g, ''))
  if (bytes === undefined) throw new Error(`not hexadecimal: ${text}`)
  return bytes
}

/** `length` times the same byte. */
export function repeated(byte: number, length = 32): Uint8Array {
  return new Uint8Array(length).fill(byte)
}

export function bytes(min: number, max: number = min): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ minLength: min, maxLength: max })
}

/** What a hostile or broken sender makes of `valid`: one bit flipped, cut short, or extended. */
export function mutations(valid: Uint8Array): fc.Arbitrary<Uint8Array> {
  return fc.oneof(
    fc.nat({ max: valid.length * 8 - 1 }).map((bit) => {
      const copy = valid.slice()
      copy[bit >> 3]! ^= 1 << (bit & 7)
      return copy
    }),
    fc.nat({ max: valid.length - 1 }).map((length) => valid.slice(0, length)),
    bytes(1, 40).map((tail) => {
      const copy = new Uint8Array(valid.length + tail.length)
      copy.set(valid)
      copy.set(tail, valid.length)
      return copy
    }),
    fc.tuple(fc.nat({ max: valid.length - 1 }), bytes(1, 8)).map(([at, patch]) => {
      const copy = valid.slice()
      copy.set(patch.subarray(0, valid.length - at), at)
      return copy
    }),
  )
}
