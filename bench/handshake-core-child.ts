/** Two endpoints of one process that shake hands with each other over nothing: what a handshake costs the core of each. A process of its own. */
import { encodeAddress } from '../src/core/base/address.ts'
import { Arena } from '../src/core/base/arena.ts'
import type { LinkId, PeerHandle } from '../src/core/base/domain.ts'
import { toInstant, toWallTime, type Now } from '../src/core/base/time.ts'
import { defaultConfig as coreConfig } from '../src/core/connection/config.ts'
import { MessageBatch, NoticeBatch, ReceiveBatch, ReleaseBatch, TransmitBatch, type PeerRecord } from '../src/core/endpoint/contract.ts'
import { Endpoint } from '../src/core/endpoint/endpoint.ts'
import { Identity } from '../src/core/session/identity.ts'
import { defaultConfig } from '../src/daemon/config/config.ts'
import { chooseNative } from '../src/daemon/native.ts'
import { serve } from './harness/child.ts'

const LINK = 1 as LinkId
const MEMORY = 4 << 20
const SLAB = 65_536
const ROWS = 64
/** One way of a datagram, and what is waited after a session was closed, in microseconds of a clock that nobody waits for. */
const WAY = 50
const PAUSE = 300_000
const TURNS_MAX = 20

const batches = { messages: new MessageBatch(ROWS), releases: new ReleaseBatch(ROWS), notices: new NoticeBatch(ROWS), transmits: new TransmitBatch(ROWS), receive: new ReceiveBatch(1) }
const now: { mono: Now['mono']; wall: Now['wall'] } = { mono: toInstant(1e9), wall: toWallTime(1.77e12) }

/** One end, with a stopwatch that runs while its endpoint is at work. */
class End {
  readonly endpoint: Endpoint
  readonly address: Uint8Array
  ns = 0
  sessions = 0
  readonly #arena = new Arena(MEMORY)
  readonly #slabs: readonly [number, number]

  constructor(seed: number, peer: { readonly id: Uint8Array; readonly address: Uint8Array }) {
    this.address = addressOf(seed)
    const record: PeerRecord = {
      id: peer.id, name: undefined, addresses: [peer.address], addedAt: now.wall, connectedAt: undefined, hadSession: false, greatest: undefined, lastSent: undefined, policy: undefined, invite: undefined,
    }
    this.endpoint = new Endpoint({
      provider, seed: seedOf(seed), arena: this.#arena, config: { ...coreConfig, keepAlive: 0, handshakeShare: 1 }, peers: [record], invites: [], resetKey: new Uint8Array(32), now,
    })
    this.#slabs = [this.#arena.allocate(SLAB), this.#arena.allocate(SLAB)]
    this.endpoint.handleLink(now, LINK, 'opened', { kind: 'udp', local: this.address, datagramMax: 65_507, segmentsMax: 1 })
  }

  timed<T>(work: () => T): T {
    const began = process.hrtime.bigint()
    const result = work()
    this.ns += Number(process.hrtime.bigint() - began)
    return result
  }

  receive(from: Uint8Array, datagrams: readonly Uint8Array[]): void {
    const { receive } = batches
    for (const bytes of datagrams) {
      this.#arena.bytes.set(bytes, this.#slabs[0])
      receive.count = 0
      receive.push(LINK, from, this.#slabs[0], bytes.length)
      this.timed(() => this.endpoint.handleDatagrams(now, receive))
    }
  }

  /** Everything that wants to come out. */
  drain(): Uint8Array[] {
    const datagrams: Uint8Array[] = []
    const { endpoint } = this
    const { transmits } = batches
    for (;;) {
      this.timed(() => {
        for (let event = endpoint.pollEvent(); event !== undefined; event = endpoint.pollEvent()) if (event.kind === 'peer' && event.state === 'connected') this.sessions++
        endpoint.pollMessages(now, batches.messages)
        endpoint.pollReleases(batches.releases)
        endpoint.pollNotices(batches.notices)
        transmits.reset(this.#slabs[1], SLAB)
        return endpoint.pollTransmits(now, transmits)
      })
      if (transmits.count === 0) return datagrams
      for (let row = 0; row < transmits.count; row++) {
        const end = transmits.offset[row]! + transmits.length[row]!
        for (let at = transmits.offset[row]!; at < end; at += transmits.segmentSize[row]!) datagrams.push(this.#arena.bytes.slice(at, Math.min(at + transmits.segmentSize[row]!, end)))
      }
    }
  }
}

const { provider } = chooseNative(defaultConfig().native)

function seedOf(number: number): Uint8Array {
  return new Uint8Array(32).fill(number)
}

function addressOf(number: number): Uint8Array {
  return encodeAddress('127.0.0.1', 1000 + number)!
}

function exchange(a: End, b: End): void {
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    now.mono = toInstant(now.mono + WAY)
    const there = a.drain()
    b.receive(a.address, there)
    const back = b.drain()
    a.receive(b.address, back)
    if (there.length + back.length === 0) return
  }
}

/** Handshakes one after the other; nanoseconds of each at the initiator and at the responder, closing the session included. */
function shake({ count }: { readonly count: number }): { readonly initiator: Float64Array; readonly responder: Float64Array } {
  const id = (seed: number): Uint8Array => new Identity(provider, seedOf(seed)).id
  const a = new End(1, { id: id(2), address: addressOf(2) })
  const b = new End(2, { id: id(1), address: addressOf(1) })
  const [initiator, responder] = [new Float64Array(count), new Float64Array(count)]
  for (let i = 0; i < count; i++) {
    a.ns = 0
    b.ns = 0
    now.wall = toWallTime(now.wall + 1)
    const peer: PeerHandle | undefined = a.timed(() => a.endpoint.connect(now, b.endpoint.id, { addresses: [], now: true }))
    exchange(a, b)
    if (a.sessions !== i + 1 || b.sessions !== i + 1 || peer === undefined) throw new Error(`Handshake ${i + 1} failed.`)
    a.timed(() => a.endpoint.disconnect(now, peer))
    exchange(a, b)
    now.mono = toInstant(now.mono + PAUSE)
    for (const end of [a, b]) end.timed(() => end.endpoint.handleTimeout(now))
    exchange(a, b)
    initiator[i] = a.ns
    responder[i] = b.ns
  }
  return { initiator, responder }
}

/** What it can be asked. */
export type HandshakeCore = {
  readonly shake: (handshakes: { readonly count: number }) => { readonly initiator: Float64Array; readonly responder: Float64Array }
}

const calls: HandshakeCore = { shake }
serve(calls)
