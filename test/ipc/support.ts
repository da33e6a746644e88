import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PosternError } from '../../src/core/base/errors.ts'
import type { MessageRun } from '../../src/core/base/message-run.ts'
import { after, toInstant, type Instant } from '../../src/core/base/time.ts'
import {
  FRAME_HEADER_SIZE, KIND_CREDIT, KIND_JSON, KIND_MESSAGE, KIND_NOTICE, LANE_OF_CHANNEL, MessageHead, MESSAGE_COST, MESSAGE_HEADER_SIZE, decodeCredit, decodeMessage, decodeNotice, encodeCredit,
  encodeManyHead, encodeMessageHead, manyFrameSize, messageFrameSize, writeFrameHead, type ManyEntry, type Notice,
} from '../../src/core/wire/ipc/ipc.ts'
import { IpcFrameReader } from '../../src/core/wire/ipc/ipc-reader.ts'
import { ipcPaths } from '../../src/core/wire/ipc/ipc-path.ts'
import type { ChannelEnd, HelloRequest, IpcLane, IpcLaneStats, IpcMode } from '../../src/core/wire/ipc/ipc-methods.ts'
import type { PeerWhyResult } from '../../src/core/wire/ipc/ipc-why.ts'
import type { NetcheckFamily } from '../../src/core/wire/ipc/ipc-nat.ts'
import type { ClientEnd, Grant, IncomingMessage, IpcClient, IpcGreeting, IpcHandler, IpcMethodTable } from '../../src/ipc/handler.ts'
import { startIpcServer, type IpcServer, type IpcServerOptions } from '../../src/ipc/server.ts'
import type { IpcTimers } from '../../src/ipc/timers.ts'

export const PEER: string = `${'a'.repeat(51)}q`
export const MESSAGE_MAX = 1_048_576

const family: NetcheckFamily = { state: 'off', mapping: 'unknown', filtering: 'unknown', word: 'unknown', meaning: '', servers: [] }
const idle = { sent: 0, queued: 0, dropped: {} }
const unknownNats: PeerWhyResult['nat'] = { ours: { mapping: 'unknown', filtering: 'unknown', word: 'unknown', from: 'none', servers: 'off', ipv6: false }, theirs: { mapping: 'unknown', filtering: 'unknown', word: 'unknown', from: 'none', ipv6: false }, outlook: 'unknown', between: false, text: '' }
export const idleLanes: IpcLaneStats = { critical: idle, high: idle, normal: idle, low: idle }

/** Time that moves only when told; deferred work runs at the end of the real turn. */
export class FakeTimers implements IpcTimers {
  #now: Instant = toInstant(0)
  readonly #set = new Set<{ readonly at: Instant; readonly callback: () => void }>()

  now(): Instant {
    return this.#now
  }

  at(at: Instant, callback: () => void): () => void {
    const entry = { at, callback }
    this.#set.add(entry)
    return () => this.#set.delete(entry)
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }

  get armed(): number {
    return this.#set.size
  }

  /** Moves on, and lets sockets catch up between any two timers. */
  async advance(milliseconds: number): Promise<void> {
    const end = after(this.#now, milliseconds * 1000)
    for (;;) {
      const next = [...this.#set].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#set.delete(next)
      if (next.at > this.#now) this.#now = next.at
      next.callback()
      await turns(3)
    }
    this.#now = end
  }
}

/** Lets the event loop go round. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** Waits in real time for something that sockets bring about. */
export async function until(condition: () => boolean, what = 'condition'): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited 10 s for ${what}`)
    await new Promise<void>((resolve) => setTimeout(resolve, 1))
  }
}

interface EchoChannel {
  readonly client: IpcClient
  readonly number: number
  readonly waiting: Uint8Array[]
  readonly mode: IpcMode
}

/**
 * Stands in for the daemon's router: every channel is to an app that sends back what it gets. A message's credit returns when
 * its echo was sent, so a client that does not take its echoes is stopped.
 */
export class EchoHandler implements IpcHandler {
  readonly clients: Map<number, IpcClient> = new Map()
  readonly ends: (ClientEnd & { readonly id: number })[] = []
  readonly faults: unknown[] = []
  readonly broken: ChannelEnd[] = []
  readonly channels: Map<number, EchoChannel> = new Map()
  readonly listening: Map<string, IpcClient> = new Map()
  readonly taken: { channel: number; lane: number; tag: number; ttlMs: number; confirm: boolean; length: number }[] = []
  /** So much of the next run is taken, and the message behind it refused once. */
  room: number = Infinity
  credits = true
  /** Lengths of the runs that were offered. */
  readonly runs: number[] = []
  /** Messages the router refuses to take before it resumes the client. */
  parkNext = 0
  sendCredit = 65_536
  maxMessage: number = MESSAGE_MAX
  echo = true
  record = false
  scopes: readonly string[] = ['app:*', 'status', 'admin']
  instance = 'abcd'
  readonly keys: Map<string, readonly string[]> = new Map()
  readonly lost: IpcClient[] = []
  greet: (hello: HelloRequest) => void = ignore
  /** Instead of the echo's answers, for single methods. */
  overrides: Partial<IpcMethodTable> = {}
  received = 0
  writable = 0
  readonly credited: number[] = []
  #nextContext = 1

  readonly methods: IpcMethodTable = {
    'ble.status': () => ({ state: 'disabled', reason: '', mode: 'active', searching: false, advertising: false, scanning: false, inRange: 0, friendsInRange: 0, links: [] }),
    'pair.start': () => ({ open: true, leftMs: 1, inRange: 0, exchanges: [] }),
    'pair.status': () => ({ open: false, leftMs: 0, inRange: 0, exchanges: [] }),
    'pair.answer': () => ({}),
    'pair.stop': () => ({}),
    'ble.nearby': () => ({ state: 'disabled', reason: '', devices: [], others: 0 }),
    'ble.power': (_client, { mode }) => ({ mode: mode ?? 'active', configured: 'active', searching: false, modes: [] }),
    'netcheck': () => ({ at: 0, tookMs: 0, interfaces: [], udp4: family, udp6: family, tcp: { state: 'off', punching: false }, unresolved: [], portal: 'unknown', portMapping: { state: 'disabled', mapped: [] } }),
    'status': () => ({
      peerId: PEER, version: '0.1.0', uptimeMs: 1, sessions: 0, paths: { direct: 0, tcp: 0, relay: 0, turn: 0, ble: 0 }, addresses: [], counters: {}, lanes: idleLanes,
    }),
    'peers': (client, request, signal) => this.overrides['peers']?.(client, request, signal)
      ?? { peers: [{ id: PEER, handle: client.peerHandle(PEER), state: 'connected', since: 0 }] },
    'peer.add': () => ({}),
    'peer.remove': () => ({}),
    'peer.why': (_client, { id }) => ({
      id, at: 0, state: 'offline', since: 0, policy: { never: [], from: 'default' }, paths: [], attempts: [], probes: [], history: [], bounds: { history: 32, attempts: 32, pairs: 64 }, advice: [], nat: unknownNats, pairs: [],
    }),
    'peer.policy': () => ({ policy: { never: [] }, from: 'default' }),
    'peer.connect': (client, request, signal) => this.overrides['peer.connect']?.(client, request, signal) ?? { handle: client.peerHandle(request.id), state: 'connected' },
    'peer.disconnect': () => ({}),
    'peer.ping': (client, request, signal) => this.overrides['peer.ping']?.(client, request, signal) ?? { rttMs: [1], path: 'udp 192.0.2.1:7000' },
    'listen': (client, { app }) => {
      if (this.listening.has(app)) throw new PosternError('app_taken', 'Another program listens.')
      this.listening.set(app, client)
      return {}
    },
    'unlisten': (_client, { app }) => {
      this.listening.delete(app)
      return {}
    },
    'channel.open': (client, request, signal) => {
      if (this.overrides['channel.open'] !== undefined) return this.overrides['channel.open'](client, request, signal)
      const { peer, mode, credit, deadlineMs } = request
      const context = this.#nextContext++
      const channel = client.addChannel({ peer, context, mode, credit, deadlineMs })
      if (channel === undefined) throw new PosternError('limit', 'Too many channels.')
      this.channels.set(context, { client, number: channel, waiting: [], mode })
      return { channel, handle: client.peerHandle(peer), sendCredit: this.sendCredit, maxMessage: this.maxMessage }
    },
    'channel.accept': () => ({ sendCredit: this.sendCredit, maxMessage: this.maxMessage }),
    'channel.reject': () => ({}),
    'channel.close': (client, { channel, reason }) => {
      client.closeChannel(channel, { code: 'done', reason, by: 'local' })
      return {}
    },
    'channel.stats': () => ({ sent: 1, received: 2, delivered: 1, dropped: {}, queued: 0, queuedBytes: 0, rttMs: null, lanes: idleLanes }),
    'invite.create': () => ({ link: 'postern:1/AA', id: '00' }),
    'invite.join': () => ({ peer: PEER }),
    'invite.reply': () => ({ reply: 'postern:r1/' }),
    'invite.accept': () => ({ peer: PEER }),
    'invite.list': () => ({ invites: [] }),
    'invite.revoke': () => ({}),
    'keys.create': () => ({ id: '00', key: 'pk_x' }),
    'keys.list': () => ({ keys: [] }),
    'keys.revoke': () => ({}),
    'subscribe': (client, request, signal) => this.overrides['subscribe']?.(client, request, signal) ?? {},
    'unsubscribe': (client, request, signal) => this.overrides['unsubscribe']?.(client, request, signal) ?? {},
    'leave': (client) => {
      client.leave()
      return {}
    },
    'shutdown': () => ({}),
  }

  authenticate(key: string | undefined): Grant | undefined {
    const scopes = key === undefined ? this.scopes : this.keys.get(key)
    return scopes === undefined ? undefined : { key, scopes }
  }

  onClientOpen(client: IpcClient, hello: HelloRequest): IpcGreeting {
    this.greet(hello)
    this.clients.set(client.id, client)
    return { peerId: PEER, daemon: '0.1.0', instance: this.instance }
  }

  onClientLost(client: IpcClient): void {
    this.lost.push(client)
    for (const [app, owner] of this.listening) if (owner === client) this.listening.delete(app)
  }

  onClientResumed(): IpcGreeting {
    return { peerId: PEER, daemon: '0.1.0', instance: this.instance }
  }

  onClientClosed(client: IpcClient, end: ClientEnd): void {
    this.clients.delete(client.id)
    this.ends.push({ ...end, id: client.id })
    for (const [app, owner] of this.listening) if (owner === client) this.listening.delete(app)
  }

  /** As many as would be taken one by one. */
  onRun(client: IpcClient, channel: number, context: number, run: MessageRun): number {
    if (this.parkNext > 0) return 0
    this.runs.push(run.count)
    for (let i = 0; i < run.count; i++) {
      if (i === this.room) {
        this.room = Infinity
        this.parkNext = 1
        return i
      }
      const message = { channel, context, lane: LANE_OF_CHANNEL, tag: run.tag[i]!, ttlMs: 0, confirm: false, bytes: run.bytes, offset: run.offset[i]!, length: run.length[i]! }
      this.onMessage(client, message)
    }
    return run.count
  }

  onMessage(client: IpcClient, message: IncomingMessage): boolean {
    if (this.parkNext > 0) {
      this.parkNext--
      setImmediate(() => client.resume())
      return false
    }
    this.received++
    if (this.record) {
      const { channel, lane, tag, ttlMs, confirm, length } = message
      this.taken.push({ channel, lane, tag, ttlMs, confirm, length })
    }
    const channel = this.channels.get(message.context)
    if (!this.echo || channel === undefined) {
      if (this.credits) client.sendCredit(message.channel, message.length + MESSAGE_COST)
    } else if (channel.waiting.length === 0 && client.sendMessage(message.channel, 0, message.bytes, message.offset, message.length) === 'queued') {
      client.sendCredit(message.channel, message.length + MESSAGE_COST)
    } else {
      channel.waiting.push(message.bytes.slice(message.offset, message.offset + message.length))
    }
    return true
  }

  onCredit(_client: IpcClient, _channel: number, context: number, cost: number): void {
    this.credited.push(cost)
    const channel = this.channels.get(context)
    while (channel !== undefined) {
      const bytes = channel.waiting[0]
      if (bytes === undefined || channel.client.sendMessage(channel.number, 0, bytes, 0, bytes.length) !== 'queued') return
      channel.waiting.shift()
      channel.client.sendCredit(channel.number, bytes.length + MESSAGE_COST)
    }
  }

  onChannelBroken(_client: IpcClient, _channel: number, _context: number, end: ChannelEnd): void {
    this.broken.push(end)
  }

  onWritable(): void {
    this.writable++
  }

  onFault(error: unknown): void {
    this.faults.push(error)
  }

  /** A remote app wants a channel with whoever listens. */
  offer(app: string, options: { mode?: IpcMode; lane?: IpcLane; credit?: number; meta?: Uint8Array } = {}): number | undefined {
    const client = this.listening.get(app)
    const { mode = 'reliable-ordered', lane = 'normal', credit = 262_144, meta = new Uint8Array(0) } = options
    const context = this.#nextContext++
    const number = client?.offerChannel({ peer: PEER, context, mode, lane, app, meta, credit, deadlineMs: 0 })
    if (client !== undefined && number !== undefined) this.channels.set(context, { client, number, waiting: [], mode })
    return number
  }
}

export interface Bench {
  readonly dir: string
  readonly server: IpcServer
  readonly handler: EchoHandler
  readonly timers: FakeTimers
  readonly stop: () => Promise<void>
}

export function temporaryDirectory(): { readonly dir: string; readonly remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'pst-'))
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

export function pathsIn(dir: string): ReturnType<typeof ipcPaths> {
  return ipcPaths({ platform: process.platform, uid: process.getuid?.() ?? 0, env: {}, dir })
}

/** A server on a real socket in a directory of its own, with a clock that stands still. */
export async function startBench(options: Partial<IpcServerOptions> = {}): Promise<Bench> {
  const { dir, remove } = temporaryDirectory()
  const handler = new EchoHandler()
  const timers = new FakeTimers()
  const server = await startIpcServer({ handler, paths: pathsIn(dir), messageMax: MESSAGE_MAX, timers, ...options })
  const stop = async (): Promise<void> => {
    const closed = server.close()
    await turns(5)
    await timers.advance(1100)
    await closed
    remove()
  }
  return { dir, server, handler, timers, stop }
}

export type RawFrame =
  | { readonly kind: 'json'; readonly value: Record<string, unknown> }
  | { readonly kind: 'message'; readonly channel: number; readonly flags: number; readonly lane: number; readonly handle: number; readonly id: number; readonly bytes: Uint8Array }
  | { readonly kind: 'credit'; readonly channel: number; readonly add: number }
  | { readonly kind: 'notice'; readonly notice: Notice }

/** A client without manners: writes any bytes, and keeps what comes back as frames. */
export class RawClient {
  readonly socket: Socket
  readonly frames: RawFrame[] = []
  ended = false
  closed = false
  #nextId = 1
  readonly #reader = new IpcFrameReader({ json: 4_194_304, message: MESSAGE_MAX })

  constructor(path: string) {
    this.socket = connect(path)
    this.socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.socket.on('end', () => (this.ended = true))
    this.socket.on('close', () => (this.closed = true))
    this.socket.on('error', () => undefined)
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes)
  }

  json(value: unknown): void {
    this.write(jsonFrame(value))
  }

  call(method: string, params: object = {}): number {
    const id = this.#nextId++
    this.json({ jsonrpc: '2.0', id, method, params })
    return id
  }

  /** The answer to a call, waited for. */
  async answer(id: number | string | null): Promise<Record<string, unknown>> {
    const find = (): Record<string, unknown> | undefined => this.jsons.find((value) => value['id'] === id && value['method'] === undefined)
    await until(() => find() !== undefined || this.closed, `answer ${String(id)}`)
    const answer = find()
    if (answer === undefined) throw new Error(`closed without answer ${String(id)}`)
    return answer
  }

  async ask(method: string, params: object = {}): Promise<Record<string, unknown>> {
    return await this.answer(this.call(method, params))
  }

  async hello(params: object = {}): Promise<Record<string, unknown>> {
    return await this.ask('hello', { protocol: 1, ...params })
  }

  /** The code of an error answer. */
  async errorOf(id: number | string | null): Promise<unknown> {
    return errorCode(await this.answer(id))
  }

  async event(name: string): Promise<Record<string, unknown>> {
    const find = (): Record<string, unknown> | undefined => this.jsons.find((value) => value['method'] === name)
    await until(() => find() !== undefined || this.closed, name)
    const event = find()
    if (event === undefined) throw new Error(`closed without ${name}`)
    return event['params'] as Record<string, unknown>
  }

  async open(params: object = {}): Promise<number> {
    const answer = await this.ask('channel.open', { peer: PEER, app: 'echo', mode: 'reliable-ordered', ...params })
    const result = answer['result'] as { channel: number } | undefined
    if (result === undefined) throw new Error(JSON.stringify(answer))
    return result.channel
  }

  message(channel: number, bytes: Uint8Array, options: { flags?: number; lane?: number; tag?: number; ttl?: number } = {}): void {
    this.write(messageFrame(channel, bytes, options))
  }

  credit(channel: number, add: number): void {
    const frame = new Uint8Array(13)
    encodeCredit(frame, 0, channel, add)
    this.write(frame)
  }

  get jsons(): Record<string, unknown>[] {
    return this.frames.flatMap((frame) => (frame.kind === 'json' ? [frame.value] : []))
  }

  get messages(): Extract<RawFrame, { kind: 'message' }>[] {
    return this.frames.filter((frame) => frame.kind === 'message')
  }

  get notices(): Notice[] {
    return this.frames.filter((frame) => frame.kind === 'notice').map(({ notice }) => notice)
  }

  async gone(): Promise<void> {
    await until(() => this.closed, 'the connection to close')
  }

  destroy(): void {
    this.socket.destroy()
  }

  #receive(chunk: Uint8Array): void {
    const reader = this.#reader
    reader.push(chunk)
    for (let result = reader.next(); result === 'frame'; result = reader.next()) {
      const { kind, bytes, offset, length } = reader
      if (kind === KIND_JSON) {
        this.frames.push({ kind: 'json', value: JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + offset, length).toString()) as Record<string, unknown> })
      } else if (kind === KIND_MESSAGE) {
        const head = new MessageHead()
        decodeMessage(bytes, offset, length, head)
        const { channel, flags, lane, first, second } = head
        this.frames.push({ kind: 'message', channel, flags, lane, handle: first, id: second, bytes: new Uint8Array(bytes.subarray(offset + MESSAGE_HEADER_SIZE, offset + length)) })
      } else if (kind === KIND_CREDIT) {
        const credit = decodeCredit(bytes, offset, length)
        if (credit.kind === 'credit') this.frames.push(credit)
      } else if (kind === KIND_NOTICE) {
        const notice = decodeNotice(bytes, offset, length)
        if (notice.kind === 'notice') this.frames.push(notice)
      }
    }
  }
}

export function errorCode(answer: Record<string, unknown>): unknown {
  return (answer['error'] as { data: { code: string } } | undefined)?.data.code
}

export function frame(kind: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_SIZE + body.length)
  writeFrameHead(bytes, 0, kind, body.length)
  bytes.set(body, FRAME_HEADER_SIZE)
  return bytes
}

export function jsonFrame(value: unknown): Uint8Array {
  return frame(KIND_JSON, new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)))
}

export function messageFrame(channel: number, bytes: Uint8Array, options: { flags?: number; lane?: number; tag?: number; ttl?: number } = {}): Uint8Array {
  const { flags = 0, lane = 255, tag = 0, ttl = 0 } = options
  const whole = new Uint8Array(messageFrameSize(bytes.length))
  whole.set(bytes, encodeMessageHead(whole, 0, bytes.length, channel, flags, lane, tag, ttl))
  return whole
}

/** One message for many channels. */
export function manyFrame(entries: readonly ManyEntry[], bytes: Uint8Array, options: { flags?: number; lane?: number; ttl?: number } = {}): Uint8Array {
  const { flags = 0, lane = 255, ttl = 0 } = options
  const whole = new Uint8Array(manyFrameSize(entries.length, bytes.length))
  whole.set(bytes, encodeManyHead(whole, 0, bytes.length, flags, lane, ttl, entries))
  return whole
}

function ignore(): void {
  // Every hello is welcome.
}
