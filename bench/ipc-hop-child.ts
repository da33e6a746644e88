/** One end of the IPC hop: the server or client as shipped, or bare sockets with the same frames. A process of its own. */
import { createServer, connect as connectSocket } from 'node:net'
import { connect, type Channel } from '../src/client/client.ts'
import type { MessageRun } from '../src/core/base/message-run.ts'
import { encodeMessageHead, messageFrameSize, MESSAGE_COST } from '../src/core/wire/ipc/ipc.ts'
import { ipcPathOf } from '../src/core/wire/ipc/ipc-path.ts'
import type { Grant, IncomingMessage, IpcClient, IpcGreeting, IpcHandler, IpcMethodTable } from '../src/ipc/handler.ts'
import { startIpcServer } from '../src/ipc/server.ts'
import { serve } from './harness/child.ts'
import { Histogram } from './harness/stats.ts'

const PEER = `${'a'.repeat(51)}q`
/** Several turns of a full socket: credit is not what is measured here. */
const CREDIT = 1 << 20
const MESSAGE_MAX = 1 << 20
const PIECE = 65_536

export type IpcWay = 'up' | 'down' | 'ping' | 'bare'

export interface IpcEnd {
  readonly way: IpcWay
  readonly path: string
  /** Bytes of a message. */
  readonly size: number
}

export interface IpcReading {
  readonly received: number
  readonly atMs: number
  /** Counts of {@link Histogram}: round trips since the last reading. */
  readonly latency: Float64Array
}

let received = 0
const latency = new Histogram()

interface Entry {
  readonly client: IpcClient
  readonly channel: number
  readonly way: string
  owed: number
}

/** Stands in for the router: `up` counts, `down` sends as fast as it may, `ping` sends back. */
class HopHandler implements IpcHandler {
  readonly methods: IpcMethodTable
  readonly #entries = new Map<number, Entry>()
  readonly #bytes: Uint8Array

  constructor(size: number) {
    this.#bytes = new Uint8Array(size).fill(7)
    const open: IpcMethodTable['channel.open'] = (client, { peer, app, mode, credit }) => {
      const context = this.#entries.size
      const channel = client.addChannel({ peer, context, mode, credit, deadlineMs: 0 })
      if (channel === undefined) throw new Error('There is no room for a channel.')
      this.#entries.set(context, { client, channel, way: app, owed: 0 })
      if (app === 'down') setImmediate(() => this.#fill(context))
      return { channel, handle: client.peerHandle(peer), sendCredit: CREDIT, maxMessage: MESSAGE_MAX }
    }
    // The methods that are called here.
    const methods: Partial<IpcMethodTable> = { 'channel.open': open, 'leave': () => ({}) }
    this.methods = methods as IpcMethodTable
  }

  authenticate(): Grant {
    return { key: undefined, scopes: ['app:*', 'status', 'admin'] }
  }

  onClientOpen(): IpcGreeting {
    return { peerId: PEER, daemon: '0', instance: '0' }
  }

  onClientLost(client: IpcClient): void {
    client.close('closed', '')
  }

  onClientResumed(): IpcGreeting {
    return this.onClientOpen()
  }

  onClientClosed(): void {
    process.exit()
  }

  onMessage(client: IpcClient, message: IncomingMessage): boolean {
    const entry = this.#entries.get(message.context)!
    received++
    if (entry.way === 'ping') client.sendMessage(message.channel, 0, message.bytes, message.offset, message.length)
    entry.owed += message.length + MESSAGE_COST
    // As a daemon's queue drains: in steps, not message by message.
    if (entry.owed > CREDIT / 8 || entry.way === 'ping') {
      client.sendCredit(message.channel, entry.owed)
      entry.owed = 0
    }
    return true
  }

  onRun(client: IpcClient, channel: number, context: number, run: MessageRun): number {
    const entry = this.#entries.get(context)!
    if (entry.way === 'ping') return 0
    received += run.count
    entry.owed += run.size + run.count * MESSAGE_COST
    if (entry.owed > CREDIT / 8) {
      client.sendCredit(channel, entry.owed)
      entry.owed = 0
    }
    return run.count
  }

  onCredit(_client: IpcClient, _channel: number, context: number): void {
    if (this.#entries.get(context)?.way === 'down') this.#fill(context)
  }

  onWritable(): void {
    for (const [context, { way }] of this.#entries) if (way === 'down') this.#fill(context)
  }

  onChannelBroken(): void {
    throw new Error('A channel was broken.')
  }

  onFault(error: unknown): void {
    throw error
  }

  #fill(context: number): void {
    const { client, channel } = this.#entries.get(context)!
    while (!client.congested && client.sendMessage(channel, 0, this.#bytes, 0, this.#bytes.length) === 'queued');
  }
}

async function listen({ way, path, size }: IpcEnd): Promise<void> {
  if (way === 'bare') await listenBare(path)
  else await startIpcServer({ handler: new HopHandler(size), paths: [ipcPathOf(path)], messageMax: MESSAGE_MAX })
}

async function dial({ way, path, size }: IpcEnd): Promise<void> {
  if (way === 'bare') {
    dialBare(path, size)
    return
  }
  const bytes = new Uint8Array(size).fill(7)
  const daemon = await connect({ path, reconnect: false })
  const channel = await daemon.openChannel(PEER, { app: way, mode: 'reliable-ordered', credit: CREDIT })
  if (way === 'up') void pour(channel, bytes)
  if (way === 'down') channel.onMessage(() => received++)
  if (way === 'ping') {
    let at = process.hrtime.bigint()
    channel.onMessage(() => {
      const now = process.hrtime.bigint()
      latency.record(Number(now - at))
      received++
      at = now
      channel.trySend(bytes)
    })
    channel.trySend(bytes)
  }
}

async function pour(channel: Channel, bytes: Uint8Array): Promise<never> {
  for (;;) {
    while (channel.trySend(bytes) === 'queued');
    await channel.writable()
  }
}

/** The limit that frames in 64 KiB pieces have on this machine: no credit, no channels, frames only counted. */
async function listenBare(path: string): Promise<void> {
  const server = createServer((socket) => {
    let rest: Buffer | undefined
    socket.on('data', (chunk) => {
      const data = rest === undefined ? chunk : Buffer.concat([rest, chunk])
      let at = 0
      while (at + 4 <= data.length) {
        const next = at + 4 + (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16))
        if (next > data.length) break
        received++
        at = next
      }
      rest = at < data.length ? data.subarray(at) : undefined
    })
    socket.on('error', () => process.exit())
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
}

function dialBare(path: string, size: number): void {
  const bytes = new Uint8Array(size).fill(7)
  const frameSize = messageFrameSize(size)
  const socket = connectSocket(path, () => fill())
  const fill = (): void => {
    for (;;) {
      const batch = Buffer.allocUnsafe(PIECE)
      let at = 0
      while (at + frameSize <= batch.length) {
        batch.set(bytes, encodeMessageHead(batch, at, size, 1, 0, 255, 0, 0))
        at += frameSize
      }
      if (!socket.write(batch.subarray(0, at))) {
        socket.once('drain', fill)
        return
      }
    }
  }
}

/** What it can be asked. */
export type IpcHopEnd = {
  readonly listen: (end: IpcEnd) => Promise<void>
  readonly dial: (end: IpcEnd) => Promise<void>
  readonly read: () => IpcReading
}

const calls: IpcHopEnd = {
  listen,
  dial,
  read: (): IpcReading => {
    const reading = { received, atMs: performance.now(), latency: latency.counts.slice() }
    latency.clear()
    return reading
  },
}
serve(calls)
