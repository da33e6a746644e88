/** The reflected polynomial of ITU-T V.42, which PNG, Ethernet and STUN's FINGERPRINT use (RFC 8489 §14.7). */
const POLYNOMIAL = 0xedb8_8320

const table: Uint32Array = new Uint32Array(256)
for (let i = 0; i < 256; i++) {
  let word = i
  for (let bit = 0; bit < 8; bit++) word = (word & 1) === 1 ? (word >>> 1) ^ POLYNOMIAL : word >>> 1
  table[i] = word >>> 0
}

/** CRC-32 of `bytes` from `start` up to `end`, as a number of 32 bits. */
export function crc32(bytes: Uint8Array, start = 0, end: number = bytes.length): number {
  let word = 0xffff_ffff
  for (let i = start; i < end; i++) word = table[(word ^ bytes[i]!) & 0xff]! ^ (word >>> 8)
  return (word ^ 0xffff_ffff) >>> 0
}
