/** Text for people, in columns. All of it works on plain values, so that tests can hold it to fixed ones. */

/** What a terminal or a reader would take for a command or for another line: C0, C1, and the marks that turn the direction of writing. */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** Text from somebody else, on one line, with everything visible that could move the cursor or forge a line. */
export function safeLine(text: string): string {
  return text.replace(UNSAFE, escaped)
}

/** The same for text of several lines: each line behind the first is indented, so that it cannot pass for another message. */
export function safeText(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(UNSAFE, (char) => (char === '\n' ? '\n  ' : char === '\t' ? char : escaped(char)))
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
}

const ZERO_WIDTH = /\p{M}|\u200b|\u200d|\ufe0f/u
const TWO_WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u

/** Columns that a text takes on a terminal: names may be in any script. */
export function displayWidth(text: string): number {
  let width = 0
  for (const char of text) width += char.charCodeAt(0) < 0x300 ? 1 : ZERO_WIDTH.test(char) ? 0 : TWO_WIDE.test(char) ? 2 : 1
  return width
}

/** The beginning of a text that fits into so many columns, with `…` where something is missing. */
export function cut(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text
  let kept = ''
  let width = 0
  for (const char of text) {
    width += displayWidth(char)
    if (width > columns - 1) break
    kept += char
  }
  return columns < 1 ? '' : `${kept}…`
}

/** The whole text in lines of at most so many columns, as far as its words allow; each line behind the first begins with `indent`. */
export function wrap(text: string, columns: number, indent = ''): string[] {
  const lines: string[] = []
  const margin = /^ */.exec(text)![0]
  let line = ''
  for (const word of text.slice(margin.length).split(' ')) {
    if (line !== '' && displayWidth(line) + 1 + displayWidth(word) > columns) {
      lines.push(line)
      line = indent + word
    } else {
      line = line === '' ? margin + word : `${line} ${word}`
    }
  }
  return [...lines, line]
}

export function padEnd(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - displayWidth(text)))
}

/** Columns as wide as their widest cell, two spaces between them. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, column) => { widths[column] = Math.max(widths[column] ?? 0, displayWidth(cell)) })
  return rows.map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : padEnd(cell, widths[column]!))).join('  ').trimEnd()).join('\n')
}

/** `3 d 4 h`, `5 min 6 s`: the two largest units. */
export function ago(milliseconds: number): string {
  const units = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']] as const
  const parts: string[] = []
  let left = Math.max(0, milliseconds)
  for (const [size, name] of units) {
    const count = Math.floor(left / size)
    left -= count * size
    if (count > 0 && parts.length < 2) parts.push(`${count} ${name}`)
    else if (parts.length === 1) break
  }
  return parts.length === 0 ? '0 s' : parts.join(' ')
}

export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`
  if (bytes < 1 << 20) return `${(bytes / 1024).toFixed(1)} KiB`
  return `${(bytes / (1 << 20)).toFixed(1)} MiB`
}

/** `0.42`, `8.5`, `123`: three digits that say something, for milliseconds. */
export function millisecondsText(milliseconds: number): string {
  return milliseconds < 10 ? milliseconds.toFixed(2) : milliseconds < 100 ? milliseconds.toFixed(1) : milliseconds.toFixed(0)
}

/** `0 %`, `0.4 %`, `100 %` of a share of one. */
export function percentText(share: number): string {
  const percent = share * 100
  return `${percent === 0 || percent >= 99.95 ? percent.toFixed(0) : percent.toFixed(1)} %`
}

/** `udp 192.0.2.1:7000`; of Bluetooth `ble c0:ff:ee:00:12:34`, where programs read `ble ble:c0:ff:ee:00:12:34`: the kind stands in the address as well. */
export function pathText(path: string): string {
  return path.replace(/^ble ble:/, 'ble ')
}
