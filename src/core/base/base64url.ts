/** Base64 for links and codes that people copy: RFC 4648 §5, without padding. */
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

export function toBase64url(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let bitCount = 0
  for (const byte of bytes) {
    bits = ((bits & 0x3f) << 8) | byte
    bitCount += 8
    while (bitCount >= 6) {
      bitCount -= 6
      text += ALPHABET[(bits >>> bitCount) & 0x3f]!
    }
  }
  return bitCount === 0 ? text : text + ALPHABET[(bits << (6 - bitCount)) & 0x3f]!
}

/** Strict: no padding, no other characters, and no set bits behind the last byte, so one link has one text. */
export function fromBase64url(text: string): Uint8Array | undefined {
  if (text.length % 4 === 1) return undefined
  const bytes = new Uint8Array(Math.floor(text.length * 3 / 4))
  let bits = 0
  let bitCount = 0
  let length = 0
  for (const character of text) {
    const value = ALPHABET.indexOf(character)
    if (value < 0) return undefined
    bits = ((bits & 0xff) << 6) | value
    bitCount += 6
    if (bitCount >= 8) {
      bitCount -= 8
      bytes[length++] = bits >>> bitCount
    }
  }
  return (bits & ((1 << bitCount) - 1)) === 0 ? bytes : undefined
}
