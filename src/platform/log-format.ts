/** How a line of the log is laid out for people: time, level, part of the daemon, message, then what belongs to it. */

const WORD = /^[\w.:/@%+,[\]-]+$/

/** One JSON line of pino as text. Control characters are escaped: a peer's name must not paint the terminal. */
export function formatText(json: string): string {
  return `${formatLine(JSON.parse(json) as Readonly<Record<string, unknown>>)}\n`
}

/** The same for the members of such a line, without the end of it. */
export function formatLine(line: Readonly<Record<string, unknown>>): string {
  const { time, level, part, msg, ...fields } = line
  const head = `${String(time)} ${String(level).toUpperCase().padEnd(5)} ${typeof part === 'string' ? `${escape(part)}: ` : ''}${escape(String(msg))}`
  const pairs = Object.entries(fields).flatMap(([name, value]) => pairsOf(name, value))
  return [head, ...pairs].join('  ')
}

/** `name=value`; an error as its message with the rest behind it. */
function pairsOf(name: string, value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !('message' in value)) return [`${escape(name)}=${show(value)}`]
  const { message, ...rest } = value as Readonly<Record<string, unknown>>
  return [`${escape(name)}=${show(message)}`, ...Object.entries(rest).flatMap(([inner, detail]) => pairsOf(`${name}.${inner}`, detail))]
}

function show(value: unknown): string {
  if (typeof value === 'string' && WORD.test(value)) return value
  return escape(JSON.stringify(value))
}

/** What JSON leaves as it is: DEL, the C1 controls, and the marks that turn the direction of text or end a line. */
function escape(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
