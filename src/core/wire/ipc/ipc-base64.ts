const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** RFC 4648 §4, with padding. */
export function toBase64(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i
    const group = (bytes[i]! << 16) | ((left > 1 ? bytes[i + 1]! : 0) << 8) | (left > 2 ? bytes[i + 2]! : 0)
    text += ALPHABET[group >>> 18]! + ALPHABET[(group >>> 12) & 63]!
    text += left > 1 ? ALPHABET[(group >>> 6) & 63]! : '='
    text += left > 2 ? ALPHABET[group & 63]! : '='
  }
  return text
}

/** The bytes of RFC 4648 §4 text, padded or not; `undefined` for anything else, also for stray bits in the last character. */
export function fromBase64(text: string): Uint8Array | undefined {
  const match = /^([A-Za-z0-9+/]*)(={0,2})$/.exec(text)
  if (match === null) return undefined
  const digits = match[1]!
  const padding = match[2]!.length
  if (digits.length % 4 === 1 || (padding > 0 && (digits.length + padding) % 4 !== 0)) return undefined
  const bytes = new Uint8Array(Math.floor((digits.length * 3) / 4))
  let bits = 0
  let held = 0
  let at = 0
  for (const digit of digits) {
    bits = ((bits << 6) | ALPHABET.indexOf(digit)) & 0xfff
    held += 6
    if (held >= 8) {
      held -= 8
      bytes[at++] = bits >>> held
    }
  }
  return (bits & ((1 << held) - 1)) === 0 ? bytes : undefined
}
