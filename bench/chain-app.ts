/** The app at one end of a chain: sends, receives, or plays ping-pong through its daemon. A process of its own. */
import { connect, type Channel, type Client } from '../src/client/client.ts'
import { serve } from './harness/child.ts'
import { Histogram } from './harness/stats.ts'

/** Every so many messages one carries the time at which it was sent. */
const STAMP_EVERY = 64
const SEQUENCE_SIZE = 4
const STAMP_SIZE = 8
/** Some turns of the loop at full speed: what a program that moves bulk would ask for. */
const CREDIT = 1 << 20
const APP = 'bench'

export type Role = 'send' | 'receive' | 'ping' | 'echo'

export interface AppStart {
  /** Socket of its daemon. */
  readonly path: string
  readonly role: Role
  /** Bytes of a message. */
  readonly size: number
  /** Id of the other side, for those who open the channel. */
  readonly peer: string
}

export interface AppReading {
  /** Messages queued or taken. */
  readonly count: number
  /** Messages that were not the next. */
  readonly misplaced: number
  readonly atMs: number
  /** Counts of {@link Histogram} since the last reading: the way of a message, or its round trip. */
  readonly latency: Float64Array
}

let client: Client | undefined
let channel: Channel | undefined
let role: Role = 'send'
let bytes = new Uint8Array(0)
let count = 0
let next = 0
let misplaced = 0
let pouring = false
/** Milliseconds between two pings; 0 = the next as soon as one is back. */
let pauseMs = 0
let sentAt = 0
const latency = new Histogram()

/** Nanoseconds on a clock that all processes of the machine share. */
function clock(): number {
  return Number(process.hrtime.bigint())
}

async function start(options: AppStart): Promise<void> {
  role = options.role
  bytes = new Uint8Array(options.size).fill(7)
  client = await connect({ path: options.path, reconnect: false })
  if (role === 'receive' || role === 'echo') {
    const listener = await client.listen(APP, { credit: CREDIT })
    void accept(listener)
    return
  }
  channel = await client.openChannel(options.peer, { app: APP, mode: 'reliable-ordered', credit: CREDIT })
  if (role === 'ping') channel.onMessage(() => onPong())
}

async function accept(listener: AsyncIterable<{ accept: () => Promise<Channel> }>): Promise<void> {
  for await (const incoming of listener) {
    channel = await incoming.accept()
    take()
  }
}

/** Receives from now on. */
function take(): void {
  channel?.onMessage(({ bytes: from, offset, length }) => {
    count++
    if (role === 'echo') {
      if (channel?.trySend(from.subarray(offset, offset + length)) !== 'queued') misplaced++
      return
    }
    const sequence = (from[offset]! | (from[offset + 1]! << 8) | (from[offset + 2]! << 16) | (from[offset + 3]! << 24)) >>> 0
    if (sequence !== next || length !== bytes.length) misplaced++
    next = (sequence + 1) >>> 0
    if (sequence % STAMP_EVERY === 0) latency.record(clock() - new DataView(from.buffer, from.byteOffset + offset + SEQUENCE_SIZE, STAMP_SIZE).getFloat64(0))
  })
}

function go(options: { readonly pauseMs: number }): void {
  pauseMs = options.pauseMs
  pouring = true
  if (role === 'ping') ping()
  else void pour()
}

async function pour(): Promise<void> {
  const out = channel!
  const stamp = new DataView(bytes.buffer, SEQUENCE_SIZE, STAMP_SIZE)
  while (pouring) {
    bytes[0] = next
    bytes[1] = next >>> 8
    bytes[2] = next >>> 16
    bytes[3] = next >>> 24
    if (next % STAMP_EVERY === 0) stamp.setFloat64(0, clock())
    if (out.trySend(bytes) !== 'queued') {
      await out.writable()
      continue
    }
    count++
    next = (next + 1) >>> 0
  }
}

function ping(): void {
  if (!pouring) return
  sentAt = clock()
  channel?.trySend(bytes)
}

function onPong(): void {
  latency.record(clock() - sentAt)
  count++
  if (pauseMs === 0) ping()
  else setTimeout(ping, pauseMs)
}

/** What it can be asked. */
export type ChainApp = {
  readonly start: (options: AppStart) => Promise<void>
  readonly go: (options: { readonly pauseMs: number }) => void
  readonly halt: () => void
  /** Messages wait, unread, from now on. */
  readonly stall: () => void
  readonly take: () => void
  readonly read: () => AppReading
}

const calls: ChainApp = {
  start,
  go,
  halt: () => {
    pouring = false
  },
  stall: () => channel?.onMessage(undefined),
  take,
  read: (): AppReading => {
    const reading = { count, misplaced, atMs: performance.now(), latency: latency.counts.slice() }
    latency.clear()
    return reading
  },
}
serve(calls)
