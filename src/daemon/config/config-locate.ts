import { parse } from 'smol-toml'

/** A value of more lines than this is not followed: its key is then reported by its section's line. */
const STATEMENT_LINES_MAX = 200

/** The place of a key in a document: `udp.port`, with the parts as JSON, since a quoted key may hold a dot. */
export function placeOf(path: readonly PropertyKey[]): string {
  return JSON.stringify(path.map(String))
}

/**
 * The line on which each key and table of a TOML document begins, from 1. The parser keeps no positions, so the document is
 * cut into statements with the parser's own help: lines are added to a piece until it parses alone. No second grammar that
 * could disagree with the first. Expects a document that parses as a whole.
 */
export function locateKeys(text: string): ReadonlyMap<string, number> {
  const places = new Map<string, number>()
  const lines = text.split('\n')
  let table: readonly string[] = []
  let start = 0
  for (let i = 0; i < lines.length; i++) {
    const statement = lines.slice(start, i + 1).join('\n')
    const parsed = tryParse(statement)
    if (parsed === undefined) {
      if (i - start >= STATEMENT_LINES_MAX) start = i + 1
      continue
    }
    if (statement.trimStart().startsWith('[')) {
      table = headerPath(parsed)
      for (let depth = 1; depth <= table.length; depth++) note(places, table.slice(0, depth), start + 1)
    } else {
      noteAll(places, table, parsed, start + 1)
    }
    start = i + 1
  }
  return places
}

function tryParse(text: string): unknown {
  try {
    return parse(text)
  } catch {
    return undefined
  }
}

/** `[a.b]` alone parses as `{ a: { b: {} } }`. */
function headerPath(parsed: unknown): readonly string[] {
  const path: string[] = []
  for (let level = parsed; isTable(level); ) {
    const [name] = Object.keys(level)
    if (name === undefined) break
    path.push(name)
    level = level[name]
  }
  return path
}

function noteAll(places: Map<string, number>, prefix: readonly string[], parsed: unknown, line: number): void {
  if (!isTable(parsed)) return
  for (const [name, value] of Object.entries(parsed)) {
    const path = [...prefix, name]
    note(places, path, line)
    noteAll(places, path, value, line)
  }
}

function note(places: Map<string, number>, path: readonly string[], line: number): void {
  const place = placeOf(path)
  if (!places.has(place)) places.set(place, line)
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
