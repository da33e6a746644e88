/** One end of the UDP hop: the driver over the addon, the driver over node:dgram, or plain node:dgram, sending or receiving. A process of its own. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { encodeAddress } from '../src/core/base/address.ts'
import { Arena } from '../src/core/base/arena.ts'
import { TransmitBatch, type LinkId, type ReceiveBatch } from '../src/core/endpoint/contract.ts'
import { UdpDriver } from '../src/net/udp.ts'
import { nativeEngine } from '../src/net/udp-native.ts'
import { loadAddon } from '../src/platform/addon.ts'
import { serve } from './harness/child.ts'

const HOST = '127.0.0.1'
const LINK = 1 as LinkId
/** As many bursts on their way as the pump has slabs. */
const SLABS = 4
const BUFFER = 4 << 20

export interface UdpEnd {
  readonly way: 'addon' | 'driver' | 'plain'
  /** Bytes of a datagram. */
  readonly size: number
  /** Datagrams of a burst. */
  readonly segments: number
}

export interface UdpReading {
  readonly sent: number
  readonly received: number
  readonly batches: number
  readonly atMs: number
}

let sent = 0
let received = 0
let batches = 0
let running = false
let send: (port: number) => void = () => undefined

async function open(end: UdpEnd): Promise<number> {
  return end.way === 'plain' ? openPlain(end) : openDriver(end)
}

async function openDriver({ way, size, segments }: UdpEnd): Promise<number> {
  const arena = new Arena(16 << 20)
  const host = {
    arena,
    opened: () => LINK,
    changed: () => undefined,
    refused: () => undefined,
    tooLarge: () => undefined,
    received: (batch: ReceiveBatch) => {
      for (let row = 0; row < batch.count; row++) received += Math.ceil(batch.length[row]! / batch.segmentSize[row]!)
      batches++
    },
  }
  const state = loadAddon()
  const udp = state.kind === 'loaded' ? state.addon.udp : undefined
  const driver = new UdpDriver(host, { port: 0, bind: [HOST], receiveBuffer: BUFFER, sendBuffer: BUFFER, ...(way === 'addon' && udp !== undefined ? { engine: nativeEngine(udp) } : {}) })
  await driver.start()
  send = (port): void => {
    for (let i = 0; i < SLABS; i++) {
      const base = arena.allocate(size * segments)
      const batch = new TransmitBatch(1)
      batch.reset(base, size * segments)
      batch.count = 1
      batch.link[0] = LINK
      batch.address.set(encodeAddress(HOST, port)!)
      batch.offset[0] = base
      batch.length[0] = size * segments
      batch.segmentSize[0] = size
      const again = (): void => {
        sent += segments
        if (running) driver.send(batch, again)
      }
      driver.send(batch, again)
    }
  }
  return driver.port
}

async function openPlain({ size, segments }: UdpEnd): Promise<number> {
  const socket = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) })
  socket.on('message', () => {
    received++
    batches++
  })
  // By this lookup the socket may be bound before `bind` returns.
  const bound = once(socket, 'listening')
  socket.bind(0, HOST)
  await bound
  socket.setRecvBufferSize(BUFFER)
  socket.setSendBufferSize(BUFFER)
  const bytes = Buffer.alloc(size, 1)
  send = (port): void => {
    // Not connected, as a socket for many peers cannot be (a connected one saves a tenth, mostly in the kernel).
    const burst = (): void => {
      if (!running) return
      let left = segments
      const done = (): void => {
        sent++
        if (--left === 0) setImmediate(burst)
      }
      for (let i = 0; i < segments; i++) socket.send(bytes, port, HOST, done)
    }
    burst()
  }
  return socket.address().port
}

/** What it can be asked. */
export type UdpHopEnd = {
  /** Opens the socket and returns its port. */
  readonly open: (end: UdpEnd) => Promise<number>
  readonly go: (to: { readonly port: number }) => void
  readonly read: () => UdpReading
}

const calls: UdpHopEnd = {
  open,
  go: ({ port }) => {
    running = true
    send(port)
  },
  read: (): UdpReading => ({ sent, received, batches, atMs: performance.now() }),
}
serve(calls)
