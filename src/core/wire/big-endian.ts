/** Integers of protocols that are not ours stand in network order. Offsets are the caller's proof: reads are not bounds-checked. */

export function readU16BE(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 8) | bytes[offset + 1]!
}

export function readU32BE(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0
}

export function writeU16BE(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 8
  bytes[offset + 1] = value
}

export function writeU32BE(bytes: Uint8Array, offset: number, value: number): void {
  writeU16BE(bytes, offset, value >>> 16)
  writeU16BE(bytes, offset + 2, value & 0xffff)
}
