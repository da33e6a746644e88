/**
 * What a router with UPnP is asked (Internet Gateway Device 1 and 2, WANIPConnection and WANPPPConnection): its description, and
 * three actions by SOAP over HTTP.
 *
 *   description   … <service> <serviceType/> <controlURL/> </service> …
 *   request       POST controlURL, SOAPAction: "serviceType#Action"; <s:Envelope> <s:Body> <u:Action> <NewArgument/> … </u:Action>
 *   response      200: <s:Envelope> <s:Body> <u:ActionResponse> …; 500: <s:Fault> <detail> <UPnPError> <errorCode/> <errorDescription/>
 */
import { encodeAddress } from '../base/address.ts'
import { resolveHttpUrl, parseHttpUrl, type HttpUrl } from './http-url.ts'
import type { Transport } from './pcp.ts'
import { childOf, escapeXml, parseXml, type XmlElement, type XmlFault } from './xml.ts'

/** Best first. */
const connectionTypes = [
  'urn:schemas-upnp-org:service:WANIPConnection:2', 'urn:schemas-upnp-org:service:WANIPConnection:1', 'urn:schemas-upnp-org:service:WANPPPConnection:1',
] as const

/** What tells a router's table for people apart from others' entries. */
const DESCRIPTION = 'postern'
/** [P] A router with more connections than this to choose from is asked about the first ones only. */
const SERVICES_MAX = 4

export interface IgdService {
  readonly type: string
  readonly control: HttpUrl
}

/** UPnP errors that are worth another try in another form (IGD 1 §2.4.16, IGD 2 §2.5.16); every other is a no. */
export const igdErrors = { conflict: 718, samePorts: 724, permanentOnly: 725 } as const

export type Description = { readonly kind: 'description'; readonly services: readonly IgdService[] } | { readonly kind: 'malformed'; readonly where: XmlFault | 'services' | 'url' }

/** Reads the description that was at `from`. A service whose URL is none is left out; whose host it names is for the caller to judge. */
export function decodeDescription(text: string, from: HttpUrl): Description {
  const document = parseXml(text)
  if (document.kind === 'malformed') return document
  const stated = childOf(document.root, 'URLBase')?.text
  const base = stated === undefined || stated === '' ? from : parseHttpUrl(stated)
  if (base === undefined) return { kind: 'malformed', where: 'url' }
  const services: IgdService[] = []
  const visit = (element: XmlElement): void => {
    if (element.name === 'service') {
      const type = childOf(element, 'serviceType')?.text ?? ''
      const control = resolveHttpUrl(base, childOf(element, 'controlURL')?.text ?? '')
      if (control !== undefined && (connectionTypes as readonly string[]).includes(type)) services.push({ type, control })
    }
    element.children.forEach(visit)
  }
  visit(document.root)
  if (services.length === 0) return { kind: 'malformed', where: 'services' }
  const rank = ({ type }: IgdService): number => (connectionTypes as readonly string[]).indexOf(type)
  return { kind: 'description', services: services.sort((a, b) => rank(a) - rank(b)).slice(0, SERVICES_MAX) }
}

export interface IgdMapping {
  readonly transport: Transport
  readonly externalPort: number
  readonly internalPort: number
  /** An IP literal. */
  readonly internalHost: string
  /** Seconds; 0 = until somebody removes it. */
  readonly lease: number
}

export interface SoapRequest {
  /** What the header SOAPAction says. */
  readonly action: string
  readonly body: string
}

export function encodeGetExternalAddress(type: string): SoapRequest {
  return soap(type, 'GetExternalIPAddress', [])
}

export function encodeAddMapping(type: string, mapping: IgdMapping): SoapRequest {
  return soap(type, 'AddPortMapping', [
    ['NewRemoteHost', ''], ['NewExternalPort', mapping.externalPort], ['NewProtocol', mapping.transport.toUpperCase()], ['NewInternalPort', mapping.internalPort],
    ['NewInternalClient', mapping.internalHost], ['NewEnabled', 1], ['NewPortMappingDescription', DESCRIPTION], ['NewLeaseDuration', mapping.lease],
  ])
}

export function encodeDeleteMapping(type: string, transport: Transport, externalPort: number): SoapRequest {
  return soap(type, 'DeletePortMapping', [['NewRemoteHost', ''], ['NewExternalPort', externalPort], ['NewProtocol', transport.toUpperCase()]])
}

function soap(type: string, action: string, values: readonly (readonly [string, string | number])[]): SoapRequest {
  const inner = values.map(([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`).join('')
  return {
    action: `"${type}#${action}"`,
    body: '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
      + `<s:Body><u:${action} xmlns:u="${type}">${inner}</u:${action}></s:Body></s:Envelope>\r\n`,
  }
}

export type SoapAnswer =
  | { readonly kind: 'done'; readonly values: ReadonlyMap<string, string> }
  /** A UPnP error code; 0 where the router did not give one. */
  | { readonly kind: 'error'; readonly code: number }
  | { readonly kind: 'malformed'; readonly where: XmlFault | 'envelope' }

/** Reads the answer to `action`, whatever its HTTP status was. */
export function decodeSoap(text: string, action: 'GetExternalIPAddress' | 'AddPortMapping' | 'DeletePortMapping'): SoapAnswer {
  const document = parseXml(text)
  if (document.kind === 'malformed') return document
  const body = document.root.name === 'Envelope' ? childOf(document.root, 'Body') : undefined
  if (body === undefined) return { kind: 'malformed', where: 'envelope' }
  const fault = childOf(body, 'Fault')
  if (fault !== undefined) {
    const detail = childOf(fault, 'detail') ?? childOf(fault, 'Detail')
    const error = detail === undefined ? undefined : childOf(detail, 'UPnPError')
    const code = error === undefined ? undefined : childOf(error, 'errorCode')?.text
    return { kind: 'error', code: code !== undefined && /^\d{1,4}$/.test(code) ? Number(code) : 0 }
  }
  const response = childOf(body, `${action}Response`)
  return response === undefined ? { kind: 'malformed', where: 'envelope' } : { kind: 'done', values: new Map(response.children.map(({ name, text: value }) => [name, value])) }
}

/** 18 bytes with port 0; `undefined` where the router names no address. */
export function externalAddressOf(values: ReadonlyMap<string, string>): Uint8Array | undefined {
  return encodeAddress(values.get('NewExternalIPAddress') ?? '', 0)
}
