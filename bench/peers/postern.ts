/** Postern without its IPC, one side of "daemon to daemon": the shipped endpoint, runtime and UDP driver, as the daemon joins them. */
import { randomBytes } from 'node:crypto'
import { encodeAddress } from '../../src/core/base/address.ts'
import { Arena } from '../../src/core/base/arena.ts'
import { never } from '../../src/core/base/time.ts'
import type { CoreConfig } from '../../src/core/connection/config.ts'
import type { CryptoProvider } from '../../src/core/crypto/provider.ts'
import { MESSAGE_COST, type ChannelHandle, type DeliveryMode, type EndpointEvent, type MessageBatch, type OutgoingMessage, type PeerHandle } from '../../src/core/endpoint/contract.ts'
import { Endpoint } from '../../src/core/endpoint/endpoint.ts'
import { LANE_OF_CHANNEL } from '../../src/core/wire/ipc/ipc.ts'
import { coreConfigOf } from '../../src/daemon/config/config-core.ts'
import { defaultConfig } from '../../src/daemon/config/config.ts'
import { chooseNative } from '../../src/daemon/native.ts'
import { NodeRuntime, type RuntimeSink } from '../../src/daemon/node-runtime.ts'
import { nativeEngine, udpFeature } from '../../src/net/udp-native.ts'
import type { UdpEngine } from '../../src/net/udp-socket.ts'
import { UdpDriver } from '../../src/net/udp.ts'
import { loadAddon } from '../../src/platform/addon.ts'
import { Clock } from '../../src/platform/clock.ts'
import type { Pipe, PipeKind, Take, Transport } from './transport.ts'

const HOST = '127.0.0.1'
const APP = 'bench'
/** What the bench's own apps ask for. */
const CREDIT = 1 << 20
/** The one local consumer of all channels. */
const CONSUMER = 1

interface Address {
  readonly id: Uint8Array
  readonly port: number
}

/** @param options `plaintext`: bytes in each datagram, which is not searched for anything larger; as shipped when absent */
export async function open(options: Readonly<Record<string, unknown>>): Promise<Transport> {
  const { plaintext } = options as { readonly plaintext?: number }
  const node = new PosternNode({ ...coreConfigOf(defaultConfig()), admitStrangers: true, ...(plaintext === undefined ? {} : { baseSize: plaintext }) }, plaintext === undefined)
  await node.start()
  return node
}

class PosternNode implements Transport, RuntimeSink {
  readonly keepsMessages = true
  readonly runtime: NodeRuntime
  readonly #udp: UdpDriver
  readonly #pipes = new Map<ChannelHandle, PosternPipe>()
  /** Waits for the session, then for the channel. */
  #dialing: { readonly peer: PeerHandle; readonly connected: () => void } | undefined
  #accept: (pipe: Pipe) => void = () => undefined

  constructor(config: CoreConfig, discovers: boolean) {
    const clock = new Clock()
    const { provider, engine } = nativeParts(discovers)
    const endpoint = new Endpoint({
      provider, seed: new Uint8Array(randomBytes(32)), arena: new Arena(defaultConfig().limits.memory), config, peers: [], invites: [],
      resetKey: new Uint8Array(randomBytes(32)), now: clock.now(),
    })
    this.runtime = new NodeRuntime(endpoint, clock, this)
    const { receiveBuffer } = defaultConfig().udp
    this.#udp = new UdpDriver(this.runtime, { port: 0, bind: [HOST], receiveBuffer, sendBuffer: receiveBuffer, ...(engine === undefined ? {} : { engine }) })
    this.runtime.add(this.#udp)
  }

  async start(): Promise<void> {
    await this.#udp.start()
    this.runtime.pump.run()
  }

  packets(): number {
    return this.#udp.stats()['udp_sent_datagrams'] ?? 0
  }

  listen(accept: (pipe: Pipe) => void): Promise<unknown> {
    this.#accept = accept
    return Promise.resolve({ id: this.runtime.endpoint.id, port: this.#udp.port } satisfies Address)
  }

  async dial({ id, port }: Address, kind: PipeKind): Promise<Pipe> {
    const { endpoint } = this.runtime
    const peer = endpoint.connect(this.runtime.now(), id, { addresses: [encodeAddress(HOST, port)!], now: true })
    if (peer === undefined) throw new Error('This is not the id of a peer.')
    if (endpoint.peerStats(peer)?.state !== 'connected') {
      await new Promise<void>((connected) => {
        this.#dialing = { peer, connected }
        this.runtime.pump.run()
      })
    }
    const mode: DeliveryMode = kind === 'reliable' ? 'reliable-ordered' : 'unreliable'
    const channel = endpoint.openChannel(this.runtime.now(), peer, { app: APP, mode, lane: 'normal', weight: 16, overflow: 'block', meta: new Uint8Array(0), credit: CREDIT, consumer: CONSUMER })
    if (typeof channel === 'string') throw new Error(`No channel: ${channel}.`)
    const pipe = new PosternPipe(this.runtime, channel)
    this.#pipes.set(channel, pipe)
    await new Promise<void>((opened) => {
      pipe.onOpen = opened
      this.runtime.pump.run()
    })
    return pipe
  }

  onMessages(batch: MessageBatch): void {
    const { endpoint } = this.runtime
    const now = this.runtime.turnTime()
    const { bytes } = endpoint.arena
    for (let i = 0; i < batch.count; i++) {
      const channel = batch.channel[i]! as ChannelHandle
      const length = batch.length[i]!
      this.#pipes.get(channel)?.take(bytes, batch.offset[i]!, length)
      endpoint.consume(now, channel, length + MESSAGE_COST)
    }
  }

  onEvent(event: EndpointEvent): void {
    switch (event.kind) {
      case 'peer':
        if (event.state === 'connected' && event.peer === this.#dialing?.peer) this.#dialing.connected()
        return
      case 'channel-incoming': {
        const pipe = new PosternPipe(this.runtime, event.channel)
        this.#pipes.set(event.channel, pipe)
        this.runtime.endpoint.acceptChannel(this.runtime.now(), event.channel, { credit: CREDIT, consumer: CONSUMER, overflow: 'block' })
        this.#accept(pipe)
        return
      }
      case 'channel-open':
        this.#pipes.get(event.channel)?.onOpen?.()
        return
      case 'channel-closed':
        this.#pipes.delete(event.channel)
        return
      case 'writable':
        this.#pipes.get(event.channel)?.writable()
        return
      default:
        // Nothing else is waited for here.
    }
  }

  onReleases(): void {
    // Room is told by `writable`.
  }

  onNotices(): void {
    // No message asked for one.
  }

  flush(): void {
    // There is no client whose socket would be written.
  }

  onLink(): void {
    // The loopback stays.
  }

  onDialFailed(): void {
    // TCP is not used here.
  }
}

/** The addon as the daemon uses it; or with sockets that let the system fragment, of which no larger datagrams are asked. */
function nativeParts(discovers: boolean): { readonly provider: CryptoProvider; readonly engine: UdpEngine | undefined } {
  const { provider, engine } = chooseNative(defaultConfig().native)
  const state = loadAddon()
  if (discovers || engine === undefined || state.kind === 'absent' || state.addon.udp === undefined) return { provider, engine }
  return { provider, engine: nativeEngine(state.addon.udp, { features: udpFeature.gso | udpFeature.gro | udpFeature.ecn }) }
}

class PosternPipe implements Pipe {
  onOpen: (() => void) | undefined
  take: Take = () => undefined
  readonly #runtime: NodeRuntime
  readonly #channel: ChannelHandle
  readonly #message: OutgoingMessage = { bytes: new Uint8Array(0), offset: 0, length: 0, lane: LANE_OF_CHANNEL, tag: 0, confirm: false, deadline: never }
  /** Without room a message is kept here until there is: the contract of a pipe takes one more. */
  #refused: Uint8Array | undefined
  #ready: (() => void) | undefined

  constructor(runtime: NodeRuntime, channel: ChannelHandle) {
    this.#runtime = runtime
    this.#channel = channel
  }

  send(bytes: Uint8Array): boolean {
    const message = this.#message
    message.bytes = bytes
    message.length = bytes.length
    const result = this.#runtime.endpoint.send(this.#runtime.turnTime(), this.#channel, message)
    if (result === 'blocked') this.#refused = bytes
    return result !== 'blocked'
  }

  onWritable(callback: () => void): void {
    this.#ready = callback
  }

  writable(): void {
    const refused = this.#refused
    this.#refused = undefined
    if (refused !== undefined && !this.send(refused)) return
    const ready = this.#ready
    this.#ready = undefined
    ready?.()
  }

  onData(take: Take): void {
    this.take = take
  }

  close(): void {
    this.#runtime.endpoint.closeChannel(this.#runtime.now(), this.#channel, { abort: true, code: 0, reason: '' })
    this.#runtime.schedule()
  }
}
