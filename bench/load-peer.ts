import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { encodeAddress } from '../src/core/base/address.ts'
import { Arena } from '../src/core/base/arena.ts'
import type { LinkId } from '../src/core/base/domain.ts'
import { never, toInstant, toWallTime, type Instant, type Now } from '../src/core/base/time.ts'
import { defaultConfig, type CoreConfig } from '../src/core/connection/config.ts'
import type { CryptoProvider } from '../src/core/crypto/provider.ts'
import { ReceiveBatch, type EndpointEvent, type PeerHandle, type TransmitBatch } from '../src/core/endpoint/contract.ts'
import { Endpoint } from '../src/core/endpoint/endpoint.ts'
import { Pump, type PumpHost } from '../src/core/endpoint/pump.ts'
import { defaultConfig as defaultDaemonConfig } from '../src/daemon/config/config.ts'
import { chooseNative } from '../src/daemon/native.ts'
import { Clock } from '../src/platform/clock.ts'
import { Timer } from '../src/platform/timer.ts'

const HOST = '127.0.0.1'
const LINK = 1 as LinkId
/** One datagram at a time is enough for handshakes, and there are ten thousand of these. */
const SLAB = 2048
const MEMORY = 65_536
const FAR: Instant = toInstant(1e300)

/** As shipped, without a millisecond per peer for the one id that all of them dial: what the daemon spends is what is measured. */
function loadProvider(): CryptoProvider {
  const { provider } = chooseNative(defaultDaemonConfig().native)
  provider.validateId = (): boolean => true
  return provider
}

/** What all simulated peers of a process share. */
export class LoadHost {
  readonly provider: CryptoProvider = loadProvider()
  readonly clock: Clock = new Clock()
  // Whatever the daemon under measurement is told, its peers only answer; and they have room for one small message.
  readonly config: CoreConfig = { ...defaultConfig, keepAlive: 0, maxMessage: SLAB }
  readonly batch: ReceiveBatch = new ReceiveBatch(1)
}

/** A UDP socket that talks to one daemon, for one peer after the other. */
export class LoadSocket {
  readonly local: Uint8Array
  readonly remote: Uint8Array
  owner: LoadPeer | undefined
  readonly #socket: Socket
  readonly #port: number

  private constructor(socket: Socket, port: number) {
    this.#socket = socket
    this.#port = port
    this.local = encodeAddress(HOST, socket.address().port)!
    this.remote = encodeAddress(HOST, port)!
    socket.on('message', (bytes) => this.owner?.onDatagram(bytes))
    // A daemon that was stopped: its peers notice by themselves.
    socket.on('error', () => undefined)
  }

  static async open(port: number): Promise<LoadSocket> {
    const socket = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) })
    // By this lookup the socket may be bound before `bind` returns.
    const bound = once(socket, 'listening')
    socket.bind(0, HOST)
    await bound
    return new LoadSocket(socket, port)
  }

  send(bytes: Uint8Array): void {
    this.#socket.send(bytes, this.#port, HOST)
  }
}

/** A peer of the daemon under measurement: the shipping endpoint and pump on a socket of its own. */
export class LoadPeer implements PumpHost {
  readonly endpoint: Endpoint
  onConnected: (() => void) | undefined
  connected = false
  readonly #host: LoadHost
  readonly #socket: LoadSocket
  readonly #arena = new Arena(MEMORY)
  readonly #slab: number
  readonly #pump: Pump
  readonly #timer: Timer
  #peer: PeerHandle | undefined

  constructor(host: LoadHost, socket: LoadSocket, seed: Uint8Array, daemonId: Uint8Array) {
    this.#host = host
    this.#socket = socket
    const now = host.clock.now()
    this.endpoint = new Endpoint({
      provider: host.provider, seed, arena: this.#arena, config: host.config, invites: [], resetKey: host.provider.random(new Uint8Array(32)), now,
      peers: [{ id: daemonId, name: undefined, addresses: [socket.remote], addedAt: toWallTime(now.wall), connectedAt: undefined, hadSession: false, greatest: undefined, lastSent: undefined, policy: undefined, invite: undefined }],
    })
    this.#slab = this.#arena.allocate(SLAB)
    this.#pump = new Pump(this.endpoint, this, SLAB)
    this.#timer = new Timer(host.clock, (at) => {
      this.endpoint.handleTimeout(at)
      this.#pump.run()
    })
    this.endpoint.handleLink(now, LINK, 'opened', { kind: 'udp', local: socket.local, datagramMax: 65_507, segmentsMax: 1 })
    socket.owner = this
  }

  connect(daemonId: Uint8Array): void {
    this.#peer = this.endpoint.connect(this.now(), daemonId, { addresses: [], now: true })
    this.#pump.run()
  }

  disconnect(): void {
    if (this.#peer === undefined) return
    this.endpoint.disconnect(this.now(), this.#peer)
    this.#pump.run()
  }

  onDatagram(bytes: Uint8Array): void {
    if (bytes.length > SLAB) return
    const { batch } = this.#host
    this.#arena.bytes.set(bytes, this.#slab)
    batch.count = 0
    batch.push(LINK, this.#socket.remote, this.#slab, bytes.length)
    this.endpoint.handleDatagrams(this.now(), batch)
    this.#pump.run()
  }

  /** Nothing more comes out of it. */
  stop(): void {
    this.#timer.stop()
    this.#pump.close()
    if (this.#socket.owner === this) this.#socket.owner = undefined
  }

  // ── pump host ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  now(): Now {
    return this.#host.clock.now()
  }

  onMessages(): void {
    // These peers open no channels.
  }

  onNotices(): void {
    // Nothing here is to be confirmed, and nothing is dropped.
  }

  onReleases(): void {
    // … and send nothing.
  }

  onEvent(event: EndpointEvent): void {
    if (event.kind !== 'peer') return
    const before = this.connected
    this.connected = event.state === 'connected'
    if (this.connected && !before) this.onConnected?.()
  }

  onAction(): void {
    // No action exists for a node with one UDP link.
  }

  transmit(batch: TransmitBatch, done: () => void): void {
    const { bytes } = this.#arena
    for (let row = 0; row < batch.count; row++) {
      const end = batch.offset[row]! + batch.length[row]!
      // Copied, so that the slab is free at once.
      for (let offset = batch.offset[row]!; offset < end; offset += batch.segmentSize[row]!) this.#socket.send(bytes.slice(offset, Math.min(offset + batch.segmentSize[row]!, end)))
    }
    done()
  }

  arm(deadline: Instant, pacing: boolean): void {
    this.#timer.arm(deadline > FAR ? never : deadline, pacing)
  }

  wake(): void {
    setImmediate(() => this.#pump.run())
  }

  flush(): void {
    // Nothing is buffered.
  }
}
