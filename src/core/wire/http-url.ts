import { encodeAddress } from '../base/address.ts'

/** Where a router's web server has something: always an address, never a name that somebody would have to look up. */
export interface HttpUrl {
  /** 18 bytes. */
  readonly address: Uint8Array
  /** From its `/`, with the query; without a fragment. Printable ASCII. */
  readonly path: string
}

/** [P] Longer ones are of no use and refused. */
const URL_SIZE_MAX = 512
const PATH = /^\/[\x21-\x7e]*$/

/** `http://192.0.2.1:5000/root.xml`. `undefined` for any other scheme, for names, for credentials and for what is not printable. */
export function parseHttpUrl(text: string): HttpUrl | undefined {
  if (text.length > URL_SIZE_MAX) return undefined
  const match = /^http:\/\/(?:\[([0-9a-f:.]+)\]|([0-9.]+))(?::(\d{1,5}))?(\/[^#]*|)(?:#.*)?$/i.exec(text)
  if (match === null) return undefined
  const port = match[3] === undefined ? 80 : Number(match[3])
  const address = port === 0 ? undefined : encodeAddress(match[1] ?? match[2]!, port)
  const path = match[4] === '' ? '/' : match[4]!
  return address === undefined || !PATH.test(path) ? undefined : { address, path }
}

/** What `reference` stands for in a document that came from `base`: a whole URL, or a path with or without its first `/`. */
export function resolveHttpUrl(base: HttpUrl, reference: string): HttpUrl | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(reference) || reference.startsWith('//')) return parseHttpUrl(reference)
  if (reference === '' || reference.length > URL_SIZE_MAX) return undefined
  const fragment = reference.indexOf('#')
  const plain = fragment < 0 ? reference : reference.slice(0, fragment)
  const path = plain.startsWith('/') ? plain : `${base.path.slice(0, base.path.replace(/\?.*$/, '').lastIndexOf('/') + 1)}${plain}`
  return PATH.test(path) ? { address: base.address, path } : undefined
}
