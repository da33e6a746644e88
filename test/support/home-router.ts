import { decodeAddress, encodeAddress } from '../../src/core/base/address.ts'
import type { HttpUrl } from '../../src/core/wire/http-url.ts'
import type { SoapRequest } from '../../src/core/wire/igd.ts'
import type { HttpOutcome } from '../../src/core/wire/port-map-io.ts'

export type Spoken = 'pcp' | 'nat-pmp' | 'upnp'

export interface HomeRouterSettings {
  readonly address?: string
  readonly external?: string
  readonly speaks?: readonly Spoken[]
  /** Seconds; more is not granted. */
  readonly lifetimeMax?: number
  /** Ports that others have mapped already, `udp 7000`. */
  readonly taken?: readonly string[]
  /** UPnP: no leases that end. */
  readonly permanentOnly?: boolean
  /** UPnP: the control URL as the description names it. */
  readonly controlUrl?: string
  readonly httpPort?: number
}

export interface Entry {
  readonly by: Spoken
  readonly client: string
  readonly internalPort: number
  /** Seconds; 0: never ends. */
  readonly lifetime: number
  readonly nonce: string
}

/**
 * A home router as far as mapping goes, written from the RFCs' layouts with nothing of the code that is tested: bytes in, bytes out. What is
 * hostile about it is set from outside.
 */
export class HomeRouter {
  readonly address: string
  external: string
  speaks: ReadonlySet<Spoken>
  lifetimeMax: number
  readonly taken: Set<string>
  readonly table: Map<string, Entry> = new Map()
  /** What it was asked, in order: `pcp map udp 7000 3600`. */
  readonly asked: string[] = []
  /** Changes datagrams on their way out: none, another, several. */
  tamper: (answer: Uint8Array) => readonly Uint8Array[] = (answer) => [answer]
  /** Answers instead of it. */
  web: ((url: HttpUrl, soap: SoapRequest | undefined) => HttpOutcome | undefined) | undefined
  permanentOnly: boolean
  readonly controlUrl: string
  httpPort: number
  /** Seconds of its clock when the test's clock shows 0. */
  bootedAt = -1000

  constructor(settings: HomeRouterSettings = {}) {
    this.address = settings.address ?? '192.168.1.1'
    this.external = settings.external ?? '11.0.0.11'
    this.speaks = new Set(settings.speaks ?? ['pcp', 'nat-pmp', 'upnp'])
    this.lifetimeMax = settings.lifetimeMax ?? 86_400
    this.taken = new Set(settings.taken ?? [])
    this.permanentOnly = settings.permanentOnly ?? false
    this.controlUrl = settings.controlUrl ?? '/ctl/IPConn'
    this.httpPort = settings.httpPort ?? 5000
  }

  /** Loses everything, and its clock begins anew. */
  reboot(seconds: number): void {
    this.table.clear()
    this.bootedAt = seconds
  }

  /** A datagram to `port` of the router (or of a group) from `client`, an IP literal. */
  datagram(seconds: number, port: number, client: string, bytes: Uint8Array): readonly Uint8Array[] {
    const answers = port === 1900 ? this.#search(bytes) : port === 5351 ? this.#control(seconds, client, Buffer.from(bytes)) : []
    return answers.flatMap((answer) => this.tamper(answer))
  }

  /** What it multicasts when it begins: PCP, then NAT-PMP. */
  announcements(seconds: number): readonly Uint8Array[] {
    return [this.#pcpHeader(seconds, 0, 0, 0), this.#natPmpAddress(seconds)]
  }

  #epoch(seconds: number): number {
    return Math.floor(seconds - this.bootedAt)
  }

  #control(seconds: number, client: string, bytes: Buffer): Uint8Array[] {
    if (bytes[0] === 2 && this.speaks.has('pcp')) return this.#pcp(seconds, client, bytes)
    if (bytes[0] === 2 && this.speaks.has('nat-pmp')) {
      const no = this.#natPmpHeader(seconds, bytes[1]!, 1, 8)
      return [no]
    }
    if (bytes[0] === 0 && this.speaks.has('nat-pmp')) return this.#natPmp(seconds, client, bytes)
    if (bytes[0] === 0 && this.speaks.has('pcp')) return [this.#pcpHeader(seconds, bytes[1]!, 1, 0)]
    return []
  }

  #pcpHeader(seconds: number, opcode: number, result: number, lifetime: number, more = 0): Buffer {
    const answer = Buffer.alloc(24 + more)
    answer[0] = 2
    answer[1] = 0x80 | opcode
    answer[3] = result
    answer.writeUInt32BE(lifetime, 4)
    answer.writeUInt32BE(this.#epoch(seconds), 8)
    return answer
  }

  #pcp(seconds: number, client: string, bytes: Buffer): Uint8Array[] {
    if (bytes[1] === 0) {
      this.asked.push('pcp announce')
      return [this.#pcpHeader(seconds, 0, 0, 0)]
    }
    const nonce = bytes.subarray(24, 36).toString('hex')
    const transport = bytes[36] === 17 ? 'udp' : 'tcp'
    const internalPort = bytes.readUInt16BE(40)
    const wish = bytes.readUInt16BE(42)
    const lifetime = Math.min(bytes.readUInt32BE(4), this.lifetimeMax)
    this.asked.push(`pcp map ${transport} ${internalPort} ${bytes.readUInt32BE(4)}`)
    const told = [...bytes.subarray(20, 24)].join('.')
    const had = this.#find(transport, client, internalPort)
    const result = told !== client ? 12 : had !== undefined && had[1].nonce !== nonce ? 2 : 0
    const port = result !== 0 ? wish : lifetime === 0 ? 0 : had === undefined ? this.#free(transport, wish === 0 ? internalPort : wish) : Number(had[0].split(' ')[1])
    if (result === 0) this.#put(transport, port, { by: 'pcp', client, internalPort, lifetime, nonce }, had?.[0])
    const answer = this.#pcpHeader(seconds, 1, result, lifetime, 36)
    bytes.copy(answer, 24, 24, 60)
    answer.writeUInt16BE(port, 42)
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...this.external.split('.').map(Number)]).copy(answer, 44)
    return [answer]
  }

  #natPmpHeader(seconds: number, opcode: number, result: number, size: number): Buffer {
    const answer = Buffer.alloc(size)
    answer[1] = 128 + opcode
    answer.writeUInt16BE(result, 2)
    answer.writeUInt32BE(this.#epoch(seconds), 4)
    return answer
  }

  #natPmpAddress(seconds: number): Buffer {
    const answer = this.#natPmpHeader(seconds, 0, 0, 12)
    Buffer.from(this.external.split('.').map(Number)).copy(answer, 8)
    return answer
  }

  #natPmp(seconds: number, client: string, bytes: Buffer): Uint8Array[] {
    if (bytes[1] === 0) {
      this.asked.push('nat-pmp address')
      return [this.#natPmpAddress(seconds)]
    }
    const transport = bytes[1] === 1 ? 'udp' : 'tcp'
    const internalPort = bytes.readUInt16BE(4)
    const wish = bytes.readUInt16BE(6)
    const lifetime = Math.min(bytes.readUInt32BE(8), this.lifetimeMax)
    this.asked.push(`nat-pmp map ${transport} ${internalPort} ${bytes.readUInt32BE(8)}`)
    const had = this.#find(transport, client, internalPort)
    const port = lifetime === 0 ? 0 : had === undefined ? this.#free(transport, wish === 0 ? internalPort : wish) : Number(had[0].split(' ')[1])
    this.#put(transport, port, { by: 'nat-pmp', client, internalPort, lifetime, nonce: '' }, had?.[0])
    const answer = this.#natPmpHeader(seconds, bytes[1]!, 0, 16)
    answer.writeUInt16BE(internalPort, 8)
    answer.writeUInt16BE(port, 10)
    answer.writeUInt32BE(lifetime, 12)
    return [answer]
  }

  #find(transport: string, client: string, internalPort: number): [string, Entry] | undefined {
    return [...this.table].find(([key, entry]) => key.startsWith(`${transport} `) && entry.client === client && entry.internalPort === internalPort)
  }

  #free(transport: string, wish: number): number {
    let port = wish
    while (this.taken.has(`${transport} ${port}`)) port = port === 65_535 ? 1024 : port + 1
    return port
  }

  #put(transport: string, port: number, entry: Entry, before: string | undefined): void {
    if (before !== undefined) this.table.delete(before)
    if (entry.lifetime > 0 || entry.by === 'upnp') this.table.set(`${transport} ${port}`, entry)
  }

  #search(bytes: Uint8Array): Uint8Array[] {
    const text = Buffer.from(bytes).toString('latin1')
    const type = /^ST: (.*)\r$/m.exec(text)?.[1]
    if (!this.speaks.has('upnp') || !text.startsWith('M-SEARCH * HTTP/1.1\r\n') || type !== 'urn:schemas-upnp-org:device:InternetGatewayDevice:1') return []
    this.asked.push('ssdp search')
    return [Buffer.from(`HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: ${type}\r\nUSN: uuid:1::${type}\r\nEXT:\r\nSERVER: x\r\nLOCATION: http://${this.address}:${this.httpPort}/rootDesc.xml\r\n\r\n`)]
  }

  http(url: HttpUrl, soap: SoapRequest | undefined, client: string): HttpOutcome {
    const own = this.web?.(url, soap)
    if (own !== undefined) return own
    const { host: asked, port } = decodeAddress(url.address)
    if (asked !== this.address) throw new Error(`asked ${asked}`)
    // Nobody listens there (any more).
    if (port !== this.httpPort) return { kind: 'failed', reason: 'broken' }
    if (soap === undefined) return url.path === '/rootDesc.xml' ? ok(this.description()) : { kind: 'answer', status: 404, body: '' }
    const action = soap.action.replace(/^.*#|"$/g, '')
    const value = (name: string): string => new RegExp(`<${name}>([^<]*)</${name}>`).exec(soap.body)?.[1] ?? ''
    switch (action) {
      case 'GetExternalIPAddress':
        this.asked.push('upnp address')
        return ok(envelope(`<u:GetExternalIPAddressResponse xmlns:u="${SERVICE}"><NewExternalIPAddress>${this.external}</NewExternalIPAddress></u:GetExternalIPAddressResponse>`))
      case 'AddPortMapping':
        return this.#add(value, client)
      case 'DeletePortMapping':
        this.asked.push(`upnp delete ${value('NewProtocol').toLowerCase()} ${value('NewExternalPort')}`)
        return this.table.delete(`${value('NewProtocol').toLowerCase()} ${value('NewExternalPort')}`) ? ok(envelope(`<u:DeletePortMappingResponse xmlns:u="${SERVICE}"/>`)) : fault(714)
      default:
        return fault(401)
    }
  }

  #add(value: (name: string) => string, client: string): HttpOutcome {
    const transport = value('NewProtocol').toLowerCase()
    const key = `${transport} ${value('NewExternalPort')}`
    const lease = Number(value('NewLeaseDuration'))
    this.asked.push(`upnp add ${key} ${value('NewInternalPort')} ${lease}`)
    if (value('NewInternalClient') !== client) return fault(606)
    if (this.permanentOnly && lease !== 0) return fault(725)
    if (this.taken.has(key)) return fault(718)
    this.table.set(key, { by: 'upnp', client, internalPort: Number(value('NewInternalPort')), lifetime: lease, nonce: '' })
    return ok(envelope(`<u:AddPortMappingResponse xmlns:u="${SERVICE}"></u:AddPortMappingResponse>`))
  }

  description(): string {
    const service = (type: string, url: string): string => `<service><serviceType>${type}</serviceType><serviceId>x</serviceId><SCPDURL>/x.xml</SCPDURL><controlURL>${url}</controlURL></service>`
    return `<?xml version="1.0"?>\n<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major></specVersion><device><deviceType>IGD</deviceType><serviceList>${service('urn:schemas-upnp-org:service:Layer3Forwarding:1', '/ctl/L3F')}</serviceList>`
      + `<deviceList><device><deviceList><device><serviceList>${service(SERVICE, this.controlUrl)}</serviceList></device></deviceList></device></deviceList></device></root>`
  }
}

const SERVICE = 'urn:schemas-upnp-org:service:WANIPConnection:1'

export function ok(body: string): HttpOutcome {
  return { kind: 'answer', status: 200, body }
}

export function envelope(inner: string): string {
  return `<?xml version="1.0"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body>${inner}</SOAP-ENV:Body></SOAP-ENV:Envelope>`
}

export function fault(code: number): HttpOutcome {
  return { kind: 'answer', status: 500, body: envelope(`<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>${code}</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>`) }
}

/** An IP literal as 18 bytes. */
export function host(literal: string, port = 0): Uint8Array {
  return encodeAddress(literal, port)!
}
