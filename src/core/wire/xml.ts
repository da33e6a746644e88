/**
 * As much XML as routers speak: elements, text, CDATA, comments, processing instructions; prefixes are cut off, attributes are
 * passed over. A document type is refused, so nothing can be declared and nothing expands to more than was sent.
 */
export interface XmlElement {
  /** Without its prefix. */
  readonly name: string
  readonly children: readonly XmlElement[]
  /** All text directly inside, trimmed. */
  readonly text: string
}

export type XmlFault = 'size' | 'markup' | 'entity' | 'depth' | 'elements' | 'doctype'
export type XmlDocument = { readonly kind: 'document'; readonly root: XmlElement } | { readonly kind: 'malformed'; readonly where: XmlFault }

/** [P] The largest description of a router that is known has 25 KB and 200 elements, seven deep. */
export const XML_SIZE_MAX = 65_536
const ELEMENTS_MAX = 2048
const DEPTH_MAX = 32

interface OpenElement {
  readonly name: string
  readonly fullName: string
  readonly children: XmlElement[]
  text: string
}

const NAME = '[A-Za-z_][A-Za-z0-9_.:-]*'
const START = new RegExp(`<(${NAME})((?:\\s+${NAME}\\s*=\\s*(?:"[^"<]*"|'[^'<]*'))*)\\s*(/?)>`, 'y')
const END = new RegExp(`</(${NAME})\\s*>`, 'y')
const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }

/** Reads any text. */
export function parseXml(input: string): XmlDocument {
  if (input.length > XML_SIZE_MAX) return malformed('size')
  // A byte order mark, as one character or as the three bytes of UTF-8 read one by one.
  const text = input.replace(/^(?:\ufeff|\u00ef\u00bb\u00bf)/, '')
  const open: OpenElement[] = [{ name: '', fullName: '', children: [], text: '' }]
  let elements = 0
  for (let at = 0; at < text.length;) {
    const top = open[open.length - 1]!
    if (text.charCodeAt(at) !== 0x3c) {
      const end = text.indexOf('<', at)
      const plain = unescaped(text.slice(at, end < 0 ? text.length : end))
      if (plain === undefined) return malformed('entity')
      top.text += plain
      at = end < 0 ? text.length : end
      continue
    }
    const skipped = skip(text, at)
    if (typeof skipped === 'string') return malformed(skipped)
    if (skipped !== undefined) {
      if (skipped.data !== undefined) top.text += skipped.data
      at = skipped.next
      continue
    }
    END.lastIndex = at
    const end = END.exec(text)
    if (end !== null) {
      if (open.length === 1 || end[1] !== top.fullName) return malformed('markup')
      open.pop()
      open[open.length - 1]!.children.push(closed(top))
      at = END.lastIndex
      continue
    }
    START.lastIndex = at
    const start = START.exec(text)
    if (start === null) return malformed('markup')
    if (++elements > ELEMENTS_MAX) return malformed('elements')
    if (open.length > DEPTH_MAX) return malformed('depth')
    const fullName = start[1]!
    const element: OpenElement = { name: fullName.slice(fullName.indexOf(':') + 1), fullName, children: [], text: '' }
    if (start[3] === '/') top.children.push(closed(element))
    else open.push(element)
    at = START.lastIndex
  }
  const document = open[0]!
  if (open.length !== 1 || document.children.length !== 1 || document.text.trim() !== '') return malformed('markup')
  return { kind: 'document', root: document.children[0]! }
}

/** Comments, instructions and CDATA at `at`, if there is one of them. */
function skip(text: string, at: number): { readonly next: number; readonly data?: string } | XmlFault | undefined {
  const to = (end: string, from: number): number => {
    const found = text.indexOf(end, from)
    return found < 0 ? -1 : found + end.length
  }
  if (text.startsWith('<![CDATA[', at)) {
    const next = to(']]>', at)
    return next < 0 ? 'markup' : { next, data: text.slice(at + 9, next - 3) }
  }
  const next = text.startsWith('<!--', at) ? to('-->', at + 4) : text.startsWith('<?', at) ? to('?>', at) : undefined
  if (next === undefined) return text.startsWith('<!', at) ? 'doctype' : undefined
  return next < 0 ? 'markup' : { next }
}

function closed({ name, children, text }: OpenElement): XmlElement {
  return { name, children, text: text.trim() }
}

/** `undefined` for an entity that nobody declared. */
function unescaped(text: string): string | undefined {
  const pieces = text.split('&')
  let plain = pieces[0]!
  for (const piece of pieces.slice(1)) {
    const end = piece.indexOf(';')
    const value = end < 0 ? undefined : characterOf(piece.slice(0, end))
    if (value === undefined) return undefined
    plain += value + piece.slice(end + 1)
  }
  return plain
}

function characterOf(entity: string): string | undefined {
  const match = /^#(?:(\d{1,7})|x([0-9a-fA-F]{1,6}))$/.exec(entity)
  if (match === null) return Object.hasOwn(entities, entity) ? entities[entity] : undefined
  const code = match[1] === undefined ? parseInt(match[2]!, 16) : Number(match[1])
  return code > 0 && code <= 0x10_ffff ? String.fromCodePoint(code) : undefined
}

export function escapeXml(text: string): string {
  return text.replace(/[<>&"']/g, (sign) => `&${Object.keys(entities).find((name) => entities[name] === sign)!};`)
}

/** The first child of that name. */
export function childOf(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((child) => child.name === name)
}

function malformed(where: XmlFault): XmlDocument {
  return { kind: 'malformed', where }
}
