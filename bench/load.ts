/** Many peers of one daemon, in a process of its own: they shake hands as fast as they can, or sit idle. */
import { createHash, randomBytes } from 'node:crypto'
import { Identity } from '../src/core/session/identity.ts'
import { serve } from './harness/child.ts'
import { Histogram } from './harness/stats.ts'
import { LoadHost, LoadPeer, LoadSocket } from './load-peer.ts'

/** Of a handshake that was begun, here: the daemon is busy, never deaf for so long. */
const STUCK_MS = 30_000

export interface Target {
  readonly port: number
  /** 32 bytes. */
  readonly id: Uint8Array
}

export interface LoadReading {
  /** Handshakes that the peers saw completed. */
  readonly count: number
  readonly atMs: number
  /** Counts of {@link Histogram} since the last reading: from the first datagram to the session. */
  readonly latency: Float64Array
}

const host = new LoadHost()
const peers: LoadPeer[] = []
const latency = new Histogram()
let count = 0
let running = false

/** The same identities in every run of the bench. */
function seedOf(number: number): Uint8Array {
  return new Uint8Array(createHash('sha256').update(`postern bench ${number}`).digest())
}

function randomSeed(): Uint8Array {
  return new Uint8Array(randomBytes(32))
}

/** Opens sessions until `total` are up, a number of them at a time. */
async function open({ target, total, inFlight }: { readonly target: Target; readonly total: number; readonly inFlight: number }): Promise<void> {
  let opened = peers.length
  const one = async (): Promise<void> => {
    while (opened < total) {
      const number = opened++
      const socket = await LoadSocket.open(target.port)
      const peer = new LoadPeer(host, socket, seedOf(number), target.id)
      peers.push(peer)
      await connected(peer, target.id)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, one))
}

function connected(peer: LoadPeer, id: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`No session within ${STUCK_MS / 1000} s.`)), STUCK_MS)
    peer.onConnected = (): void => {
      clearTimeout(timer)
      peer.onConnected = undefined
      resolve()
    }
    peer.connect(id)
  })
}

/**
 * Handshakes over and over, one socket each. With `fresh`, each by an id that the daemon never saw; else by the same ones, whose
 * sessions are closed in between.
 */
async function handshake({ target, slots, fresh }: { readonly target: Target; readonly slots: number; readonly fresh: boolean }): Promise<void> {
  running = true
  for (let slot = 0; slot < slots; slot++) {
    const socket = await LoadSocket.open(target.port)
    let peer = new LoadPeer(host, socket, fresh ? randomSeed() : seedOf(slot), target.id)
    let first = true
    again(() => {
      if (fresh && !first) {
        peer.stop()
        peer = new LoadPeer(host, socket, randomSeed(), target.id)
      }
      first = false
      return peer
    }, target.id)
  }
}

/** One handshake after the other by whatever peer comes next. */
function again(next: () => LoadPeer, id: Uint8Array): void {
  const peer = next()
  const began = performance.now()
  peer.onConnected = (): void => {
    latency.record((performance.now() - began) * 1e6)
    count++
    // Its first datagram, which confirms the session, goes out before this.
    setImmediate(() => {
      peer.disconnect()
      if (running) again(next, id)
    })
  }
  peer.connect(id)
}

/** What it can be asked. */
export type Load = {
  /** Ids of the first so many peers, 32 bytes each. */
  readonly ids: (of: { readonly total: number }) => Uint8Array[]
  readonly open: (sessions: { readonly target: Target; readonly total: number; readonly inFlight: number }) => Promise<void>
  readonly handshake: (handshakes: { readonly target: Target; readonly slots: number; readonly fresh: boolean }) => Promise<void>
  readonly halt: () => void
  /** Sessions that are up. */
  readonly connected: () => number
  readonly read: () => LoadReading
}

const calls: Load = {
  ids: ({ total }) => Array.from({ length: total }, (_, number) => new Identity(host.provider, seedOf(number)).id),
  open,
  handshake,
  halt: () => {
    running = false
  },
  connected: () => peers.filter((peer) => peer.connected).length,
  read: (): LoadReading => {
    const reading = { count, atMs: performance.now(), latency: latency.counts.slice() }
    latency.clear()
    return reading
  },
}
serve(calls)
