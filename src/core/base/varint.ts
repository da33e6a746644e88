/**
 * QUIC variable-length integers (RFC 9000 §16): the two top bits of the first byte give the length 1, 2, 4 or 8, the rest is
 * the value, big-endian. Values are numbers up to 2^53 − 1; the 8-byte form can say more, which a reader refuses.
 */

/** Largest value a varint may carry here. */
export const VARINT_MAX: number = Number.MAX_SAFE_INTEGER

/** Bytes of the shortest form of `value`. */
export function varintSize(value: number): 1 | 2 | 4 | 8 {
  return value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x4000_0000 ? 4 : 8
}

/** Writes the shortest form of `value` (0 … 2^53 − 1) and returns the offset behind it. */
export function writeVarint(bytes: Uint8Array, offset: number, value: number): number {
  if (value < 0x40) {
    bytes[offset] = value
    return offset + 1
  }
  if (value < 0x4000) {
    bytes[offset] = 0x40 | (value >>> 8)
    bytes[offset + 1] = value
    return offset + 2
  }
  if (value < 0x4000_0000) {
    bytes[offset] = 0x80 | (value >>> 24)
    bytes[offset + 1] = value >>> 16
    bytes[offset + 2] = value >>> 8
    bytes[offset + 3] = value
    return offset + 4
  }
  const high = Math.floor(value / 0x1_0000_0000)
  const low = value >>> 0
  bytes[offset] = 0xc0 | (high >>> 24)
  bytes[offset + 1] = high >>> 16
  bytes[offset + 2] = high >>> 8
  bytes[offset + 3] = high
  bytes[offset + 4] = low >>> 24
  bytes[offset + 5] = low >>> 16
  bytes[offset + 6] = low >>> 8
  bytes[offset + 7] = low
  return offset + 8
}

/** Writes `value` (below 16,384) in the 2-byte form, so that a length can be reserved and patched. */
export function writeVarint2(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = 0x40 | (value >>> 8)
  bytes[offset + 1] = value
}

/**
 * A cursor over bytes that others own. A read past the end, or of a value above 2^53 − 1, sets `failed`, returns 0 and stays
 * where it is: parse a whole structure, then look at `failed` once. One reader is reused for many inputs ({@link reset}).
 */
export class ByteReader {
  bytes: Uint8Array
  position: number
  end: number
  failed = false

  constructor(bytes: Uint8Array, position = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.position = position
    this.end = end
  }

  reset(bytes: Uint8Array, position: number, end: number): void {
    this.bytes = bytes
    this.position = position
    this.end = end
    this.failed = false
  }

  get remaining(): number {
    return this.end - this.position
  }

  u8(): number {
    if (this.position >= this.end) return this.#fail()
    return this.bytes[this.position++]!
  }

  u16(): number {
    const at = this.position
    if (at + 2 > this.end) return this.#fail()
    this.position = at + 2
    return this.bytes[at]! | (this.bytes[at + 1]! << 8)
  }

  u32(): number {
    const at = this.position
    if (at + 4 > this.end) return this.#fail()
    this.position = at + 4
    const bytes = this.bytes
    return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  }

  varint(): number {
    const bytes = this.bytes
    const at = this.position
    if (at >= this.end) return this.#fail()
    const first = bytes[at]!
    if (first < 0x40) {
      this.position = at + 1
      return first
    }
    if (first < 0x80) {
      if (at + 2 > this.end) return this.#fail()
      this.position = at + 2
      return ((first & 0x3f) << 8) | bytes[at + 1]!
    }
    if (first < 0xc0) {
      if (at + 4 > this.end) return this.#fail()
      this.position = at + 4
      return ((first & 0x3f) << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
    }
    return this.#varint8(at)
  }

  /** A view of the next `length` bytes; valid as long as the bytes are. */
  view(length: number): Uint8Array {
    const at = this.position
    if (length > this.end - at) {
      this.#fail()
      return this.bytes.subarray(0, 0)
    }
    this.position = at + length
    return this.bytes.subarray(at, at + length)
  }

  /** Passes over `length` bytes and returns where they began. */
  skip(length: number): number {
    const at = this.position
    if (length > this.end - at) return this.#fail()
    this.position = at + length
    return at
  }

  #varint8(at: number): number {
    if (at + 8 > this.end) return this.#fail()
    const bytes = this.bytes
    const high = ((bytes[at]! & 0x3f) << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
    if (high >= 0x20_0000) return this.#fail()
    const low = ((bytes[at + 4]! << 24) | (bytes[at + 5]! << 16) | (bytes[at + 6]! << 8) | bytes[at + 7]!) >>> 0
    this.position = at + 8
    return high * 0x1_0000_0000 + low
  }

  #fail(): number {
    this.failed = true
    return 0
  }
}
