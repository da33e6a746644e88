/**
 * Search for a router with UPnP: SSDP (UPnP Device Architecture 2.0 §1.3), of which only the search is used. Who does not answer
 * a search of ours is never listened to: anybody on the link may send NOTIFY.
 *
 *   M-SEARCH * HTTP/1.1 ⏎ HOST: 239.255.255.250:1900 ⏎ MAN: "ssdp:discover" ⏎ MX: 1 ⏎ ST: … ⏎ ⏎
 *   HTTP/1.1 200 OK ⏎ ST: … ⏎ LOCATION: http://192.168.1.1:5000/root.xml ⏎ … ⏎ ⏎
 */
import { toBinaryString, utf8 } from '../base/bytes.ts'
import { parseHttpUrl, type HttpUrl } from './http-url.ts'

export const SSDP_PORT = 1900
export const SSDP_GROUP = '239.255.255.250'

/** A router of version 2 answers to both: with what it was asked for (UDA 2.0 §1.3.3). */
export const gatewayTypes = ['urn:schemas-upnp-org:device:InternetGatewayDevice:1', 'urn:schemas-upnp-org:device:InternetGatewayDevice:2'] as const

/** [P] Beyond what fits into a datagram that is not fragmented, it does not mean us well. */
const SIZE_MAX = 2048
const LINES_MAX = 64

export type SsdpAnswer =
  | { readonly kind: 'found'; readonly type: string; readonly location: HttpUrl }
  /** Of something that was not searched for. */
  | { readonly kind: 'other' }
  | { readonly kind: 'malformed'; readonly where: 'size' | 'status' | 'header' | 'location' }

export function encodeSearch(type: string): Uint8Array {
  return utf8(['M-SEARCH * HTTP/1.1', `HOST: ${SSDP_GROUP}:${SSDP_PORT}`, 'MAN: "ssdp:discover"', 'MX: 1', `ST: ${type}`, '', ''].join('\r\n'))
}

/** Reads any bytes. Whose location it is is for the caller to compare with who sent it. */
export function decodeSsdpAnswer(bytes: Uint8Array): SsdpAnswer {
  if (bytes.length > SIZE_MAX) return malformed('size')
  const lines = toBinaryString(bytes).split(/\r?\n/, LINES_MAX + 1)
  if (lines.length > LINES_MAX) return malformed('size')
  if (!/^HTTP\/1\.[01] 200(?: |$)/.test(lines[0]!)) return /^(?:NOTIFY|M-SEARCH) /.test(lines[0]!) ? { kind: 'other' } : malformed('status')
  const headers = new Map<string, string>()
  for (const line of lines.slice(1)) {
    if (line === '') break
    const colon = line.indexOf(':')
    if (colon <= 0) return malformed('header')
    const name = line.slice(0, colon).trim().toLowerCase()
    if (!headers.has(name)) headers.set(name, line.slice(colon + 1).trim())
  }
  const type = headers.get('st') ?? ''
  if (!(gatewayTypes as readonly string[]).includes(type)) return { kind: 'other' }
  const location = parseHttpUrl(headers.get('location') ?? '')
  return location === undefined ? malformed('location') : { kind: 'found', type, location }
}

function malformed(where: Extract<SsdpAnswer, { kind: 'malformed' }>['where']): SsdpAnswer {
  return { kind: 'malformed', where }
}
