/** One end of a comparison, a process of its own: listens or dials, pours, counts, plays ping-pong. The same for every transport. */
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { getHeapSpaceStatistics } from 'node:v8'
import { serve } from '../harness/child.ts'
import { Histogram } from '../harness/stats.ts'
import type { Pipe, PipeKind, Signals, Transport, TransportModule } from './transport.ts'

/** A length before each message where the transport keeps no boundaries: little-endian. */
const PREFIX = 4
/** Sends within one turn of the loop: then others get theirs. */
const TURN = 1024
const STUCK_MS = 10_000

/** What the listening side does with what comes: counts bytes, counts messages, or sends them back. */
export type Way = 'bytes' | 'messages' | 'echo'

export interface EndOptions {
  /** URL of its module. */
  readonly module: string
  readonly options: Readonly<Record<string, unknown>>
  /** Its own address: the loopback when left out. The module finds it among its options. */
  readonly host?: string
}

export interface EndReading {
  readonly bytes: number
  readonly messages: number
  readonly packets: number
  readonly atMs: number
  /** Counts of {@link Histogram} since the last reading: round trips, or connections made. */
  readonly latency: Float64Array
}

interface Meeting {
  readonly address: unknown
  readonly host: string
  /** Port of the line for signals. */
  readonly signals: number
}

let host = '127.0.0.1'
let transport: Transport | undefined
let signals: Signals | undefined
let way: Way = 'bytes'
let bytes = 0
let messages = 0
let running = false
const held: Pipe[] = []
const latency = new Histogram()

// What goes wrong inside a library after its connection was closed is its own affair; what hangs for it is ended by the bench.
process.on('unhandledRejection', () => undefined)
process.on('uncaughtException', (error) => {
  if (process.env['POSTERN_BENCH_DEBUG'] !== undefined) console.error(error)
})

async function load({ module, options, host: own }: EndOptions): Promise<void> {
  const { open } = (await import(module)) as TransportModule
  host = own ?? host
  transport = await open(own === undefined ? options : { ...options, host })
}

async function listen(options: { readonly way: Way }): Promise<Meeting> {
  way = options.way
  const server = createServer((socket) => line.attach(socket))
  server.listen(0, host)
  await once(server, 'listening')
  const line = new Line()
  return { host, address: await transport!.listen(accept, line), signals: (server.address() as AddressInfo).port }
}

/** Values as lines of JSON between the two ends; what is said before the line stands waits. */
class Line implements Signals {
  readonly #waiting: string[] = []
  readonly #heard: unknown[] = []
  #socket: Socket | undefined
  #callback: ((value: never) => void) | undefined

  attach(socket: Socket): void {
    this.#socket = socket.setNoDelay(true)
    socket.on('error', () => undefined)
    createInterface({ input: socket }).on('line', (text) => {
      const value: unknown = JSON.parse(text)
      if (this.#callback === undefined) this.#heard.push(value)
      else this.#callback(value as never)
    })
    for (const text of this.#waiting.splice(0)) socket.write(text)
  }

  send(value: unknown): void {
    const text = `${JSON.stringify(value)}\n`
    if (this.#socket === undefined) this.#waiting.push(text)
    else this.#socket.write(text)
  }

  on(callback: (value: never) => void): void {
    this.#callback = callback
    for (const value of this.#heard.splice(0)) callback(value as never)
  }
}

function accept(pipe: Pipe): void {
  held.push(pipe)
  if (way === 'echo') pipe.onData((from, offset, length) => void pipe.send(from.slice(offset, offset + length)))
  else if (way === 'bytes') {
    pipe.onData((_from, _offset, length) => {
      bytes += length
    })
  } else if (transport!.keepsMessages) {
    pipe.onData((_from, _offset, length) => {
      bytes += length
      messages++
    })
  } else countPrefixed(pipe)
}

/** Counts messages of a stream: how far the current one still goes is all that has to be kept, unless its length is cut in two. */
function countPrefixed(pipe: Pipe): void {
  let left = 0
  let prefix = 0
  let value = 0
  pipe.onData((from, offset, length) => {
    const end = offset + length
    let at = offset
    while (at < end) {
      if (left > 0) {
        const step = Math.min(left, end - at)
        left -= step
        at += step
        if (left === 0) messages++
        continue
      }
      value += from[at++]! * 2 ** (8 * prefix++)
      if (prefix < PREFIX) continue
      left = value
      prefix = 0
      value = 0
    }
    bytes += length
  })
}

async function dial({ meeting, kind }: { readonly meeting: Meeting; readonly kind: PipeKind }): Promise<void> {
  held.push(await one(meeting, kind))
}

async function one({ address, host: there, signals: port }: Meeting, kind: PipeKind): Promise<Pipe> {
  if (signals === undefined) {
    const line = new Line()
    signals = line
    const socket = createConnection(port, there)
    await once(socket, 'connect')
    line.attach(socket)
  }
  return transport!.dial(address as never, kind, signals)
}

/** Sends as fast as it goes. `prefixed`: messages, on a transport that keeps none. */
function pour({ size, way: what }: { readonly size: number; readonly way: Way }): void {
  const pipe = held[0]!
  const prefixed = what === 'messages' && !transport!.keepsMessages
  const message = new Uint8Array(prefixed ? PREFIX + size : size).fill(7)
  if (prefixed) new DataView(message.buffer).setUint32(0, size, true)
  running = true
  const turn = (): void => {
    for (let i = 0; i < TURN && running; i++) {
      if (pipe.send(message)) continue
      pipe.onWritable(turn)
      return
    }
    if (running) setImmediate(turn)
  }
  turn()
}

/** One message at a time, there and back. */
function ping({ size }: { readonly size: number }): void {
  const pipe = held[0]!
  const message = new Uint8Array(size).fill(7)
  let back = 0
  let sentAt = 0
  running = true
  const send = (): void => {
    sentAt = performance.now()
    pipe.send(message)
  }
  pipe.onData((_from, _offset, length) => {
    back += length
    if (back < size) return
    back = 0
    latency.record((performance.now() - sentAt) * 1e6)
    messages++
    if (running) send()
  })
  send()
}

/** Connections over and over, each until a byte came back through it. */
function connect({ meeting, inFlight }: { readonly meeting: Meeting; readonly inFlight: number }): void {
  running = true
  const again = async (): Promise<void> => {
    while (running) {
      const began = performance.now()
      const pipe = await answered(meeting)
      latency.record((performance.now() - began) * 1e6)
      messages++
      pipe.close()
    }
  }
  for (let i = 0; i < inFlight; i++) again().catch((error: unknown) => console.error(error))
}

async function answered(meeting: Meeting): Promise<Pipe> {
  const pipe = await one(meeting, 'reliable')
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`Nothing came back within ${STUCK_MS / 1000} s.`)), STUCK_MS)
    pipe.onData(() => {
      clearTimeout(timer)
      resolve()
    })
    pipe.send(Uint8Array.of(1))
  })
  return pipe
}

/** Connections that stay, until there are so many. */
async function hold({ meeting, count, inFlight }: { readonly meeting: Meeting; readonly count: number; readonly inFlight: number }): Promise<void> {
  const some = async (): Promise<void> => {
    for (let i = 0; i < count / inFlight; i++) held.push(await answered(meeting))
  }
  await Promise.all(Array.from({ length: inFlight }, some))
}

/** Resident bytes after collecting, without V8's young generation: its size follows the rate of allocation, not what is kept. */
async function resident(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    gc?.()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const young = getHeapSpaceStatistics().filter(({ space_name: name }) => name.startsWith('new_'))
  return process.memoryUsage.rss() - young.reduce((sum, { physical_space_size: size }) => sum + size, 0)
}

/** What it can be asked. */
export type PeerEnd = {
  readonly load: (options: EndOptions) => Promise<void>
  readonly listen: (options: { readonly way: Way }) => Promise<Meeting>
  readonly dial: (options: { readonly meeting: Meeting; readonly kind: PipeKind }) => Promise<void>
  readonly pour: (options: { readonly size: number; readonly way: Way }) => void
  readonly ping: (options: { readonly size: number }) => void
  readonly connect: (options: { readonly meeting: Meeting; readonly inFlight: number }) => void
  readonly hold: (options: { readonly meeting: Meeting; readonly count: number; readonly inFlight: number }) => Promise<void>
  readonly halt: () => void
  readonly resident: () => Promise<number>
  readonly read: () => EndReading
}

const calls: PeerEnd = {
  load,
  listen,
  dial,
  pour,
  ping,
  connect,
  hold,
  halt: () => {
    running = false
  },
  resident,
  read: (): EndReading => {
    const reading = { bytes, messages, packets: transport?.packets?.() ?? 0, atMs: performance.now(), latency: latency.counts.slice() }
    latency.clear()
    return reading
  },
}
serve(calls)
