import { concat, equalConstantTime, utf8 } from '../base/bytes.ts'
import type { Instant } from '../base/time.ts'
import { decodePcp, encodePcpAnnounce, encodePcpMap, PCP_NONCE_SIZE, PORT_MAP_SERVER_PORT, transportNumbers, type PcpResponse, type Transport } from '../wire/pcp.ts'
import { writeU16BE } from '../wire/big-endian.ts'
import type { Gateway } from '../wire/port-map-io.ts'
import { withPort, type MapperHost, type MappingClient, type MappingRefusal, type MappingRequest } from './contract.ts'
import { pcpRestarted, type Epoch } from './epoch.ts'
import { Exchanges } from './exchanges.ts'

const NONCE_LABEL = utf8('postern port mapping')
const keyOf = (transport: Transport, releasing: boolean): Key => `${releasing ? 'release' : 'map'} ${transport}`

type Key = 'probe' | `${'map' | 'release'} ${Transport}`

/** PCP (RFC 6887) towards one router. */
export class PcpClient implements MappingClient {
  readonly protocol = 'pcp' as const
  readonly #host: MapperHost
  readonly #gateway: Gateway
  readonly #secret: Uint8Array
  readonly #exchanges: Exchanges<Key>
  readonly #ports = new Map<Transport, number>()
  #epoch: Epoch | undefined

  /** `secret`: 32 bytes that outlive the process, so that mappings of a life that crashed can be taken over. */
  constructor(host: MapperHost, gateway: Gateway, secret: Uint8Array) {
    this.#host = host
    this.#gateway = gateway
    this.#secret = secret
    this.#exchanges = new Exchanges(host, withPort(gateway.router, PORT_MAP_SERVER_PORT))
  }

  probe(now: Instant): void {
    this.#exchanges.begin(now, 'probe', encodePcpAnnounce(this.#gateway.local))
  }

  map(now: Instant, { transport, internalPort, wish, lifetime }: MappingRequest): void {
    this.#ports.set(transport, internalPort)
    this.#exchanges.begin(now, keyOf(transport, false), this.#request(transport, internalPort, wish, lifetime))
  }

  release(now: Instant, transport: Transport, internalPort: number): void {
    this.#ports.set(transport, internalPort)
    this.#exchanges.end(keyOf(transport, false))
    this.#exchanges.begin(now, keyOf(transport, true), this.#request(transport, internalPort, { port: 0, address: undefined }, 0))
  }

  stop(): void {
    this.#exchanges.clear()
  }

  nextTimeout(): Instant {
    return this.#exchanges.nextTimeout()
  }

  handleTimeout(now: Instant): void {
    for (const key of this.#exchanges.handleTimeout(now)) this.#failed(key, 'silent')
  }

  /** The server speaks another version only. */
  handleVersion(): void {
    const keys = this.#exchanges.keys()
    if (keys.length === 0) this.#host.counters.add('portmap_drop_unexpected')
    for (const key of keys) {
      this.#exchanges.end(key)
      this.#failed(key, 'version')
    }
  }

  handleDatagram(now: Instant, bytes: Uint8Array): void {
    const response = decodePcp(bytes)
    switch (response.kind) {
      case 'malformed':
        this.#host.counters.add('portmap_drop_malformed')
        return
      case 'version':
        this.handleVersion()
        return
      case 'announce':
        this.handleAnnouncement(now, response.epoch)
        // Who does not know the opcode speaks PCP all the same.
        if (this.#exchanges.end('probe')) this.#host.told.push(response.result === 0 || response.result === 4 ? { kind: 'present', protocol: 'pcp' } : { kind: 'absent', protocol: 'pcp', reason: reasonOf(response.result) })
        return
      case 'map':
        this.#onMap(now, response)
    }
  }

  /** The router's clock, as it stood in an answer or was multicast. */
  handleAnnouncement(now: Instant, epoch: number): void {
    if (pcpRestarted(this.#epoch, epoch, now)) this.#host.told.push({ kind: 'restarted' })
    this.#epoch = { value: epoch, at: now }
  }

  #onMap(now: Instant, response: Extract<PcpResponse, { kind: 'map' }>): void {
    const { transport, internalPort } = response
    // Who cannot read what we send cannot know it; so a host on the link cannot tell us of addresses that the router did not give.
    if (!equalConstantTime(response.nonce, this.#nonce(transport, internalPort))) {
      this.#host.counters.add('portmap_drop_nonce')
      return
    }
    const releasing = this.#exchanges.has(keyOf(transport, true))
    if (internalPort !== this.#ports.get(transport) || !this.#exchanges.end(keyOf(transport, releasing))) {
      this.#host.counters.add('portmap_drop_unexpected')
      return
    }
    if (releasing) this.#host.told.push({ kind: 'released', transport })
    else if (response.result !== 0) this.#host.told.push({ kind: 'refused', transport, reason: reasonOf(response.result) })
    else {
      this.handleAnnouncement(now, response.epoch)
      this.#host.told.push({ kind: 'mapped', transport, external: response.external, lifetime: response.lifetime })
    }
  }

  #failed(key: Key, reason: MappingRefusal): void {
    const [what, transport] = key.split(' ') as ['probe' | 'map' | 'release', Transport]
    if (what === 'probe') this.#host.told.push({ kind: 'absent', protocol: 'pcp', reason })
    else this.#host.told.push(what === 'release' ? { kind: 'released', transport } : { kind: 'refused', transport, reason })
  }

  #request(transport: Transport, internalPort: number, suggested: MappingRequest['wish'], lifetime: number): Uint8Array {
    return encodePcpMap({ lifetime, internal: withPort(this.#gateway.local, internalPort), nonce: this.#nonce(transport, internalPort), transport, suggested })
  }

  /** The same for the same mapping, always: a router renews and removes only for who knows the nonce that it was made with (§11.2, §15). */
  #nonce(transport: Transport, internalPort: number): Uint8Array {
    const what = new Uint8Array(3)
    what[0] = transportNumbers[transport]
    writeU16BE(what, 1, internalPort)
    return this.#host.provider.hmac(this.#secret, concat(NONCE_LABEL, this.#gateway.router.subarray(0, 16), this.#gateway.local.subarray(0, 16), what)).subarray(0, PCP_NONCE_SIZE)
  }
}

/** RFC 6887 §7.4. */
function reasonOf(result: number): MappingRefusal {
  switch (result) {
    case 1:
      return 'version'
    case 2:
      return 'not authorized'
    case 7:
      return 'network failure'
    case 8:
    case 10:
      return 'no resources'
    case 11:
      return 'port taken'
    case 12:
      return 'another NAT is between'
    default:
      return 'refused'
  }
}
