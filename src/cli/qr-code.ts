/** Light modules around the code, which readers need to find it (ISO/IEC 18004 §5.3.8). */
const QUIET_ZONE = 4
/** Black on white whatever the colours of the terminal are: numbers of the fixed part of the 256-colour palette. */
const BLACK_ON_WHITE = '\u001b[38;5;16;48;5;231m'
const RESET = '\u001b[0m'

export interface QrPicture {
  readonly lines: readonly string[]
  /** Columns. */
  readonly width: number
}

/**
 * A text as a QR code of half blocks: two modules above one another in each character. With colours it is black on white; without, the
 * light modules are drawn, which is right on a dark terminal, and inverted on a light one (newer readers take that as well).
 *
 * Byte mode and the lowest error correction, since nothing covers a screen: an invite is base64url, so the denser alphanumeric mode,
 * which has upper case only, is of no use.
 */
export async function qrPicture(text: string, colours: boolean): Promise<QrPicture> {
  // Loaded when it is needed: no other command pays for it.
  const { encode } = await import('uqr')
  const { data } = encode(text, { ecc: 'L', border: QUIET_ZONE })
  return { lines: drawModules(data, colours), width: data.length }
}

/** `true` is a dark module. */
export function drawModules(modules: readonly (readonly boolean[])[], colours: boolean): readonly string[] {
  const lines: string[] = []
  for (let y = 0; y < modules.length; y += 2) {
    const [upper, lower] = [modules[y]!, modules[y + 1]]
    const cells = upper.map((dark, x) => halfBlock(dark === colours, (lower?.[x] ?? false) === colours))
    lines.push(colours ? `${BLACK_ON_WHITE}${cells.join('')}${RESET}` : cells.join(''))
  }
  return lines
}

/** The character whose upper and lower half are drawn in the foreground, or not. */
function halfBlock(upper: boolean, lower: boolean): string {
  return upper ? (lower ? '█' : '▀') : lower ? '▄' : ' '
}
