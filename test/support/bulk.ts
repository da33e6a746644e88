import { encodeAddress } from '../../src/core/base/address.ts'
import { readU32, writeU32 } from '../../src/core/base/bytes.ts'
import { never } from '../../src/core/base/time.ts'
import type { ChannelHandle, EndpointEvent, MessageBatch, PathStats } from '../../src/core/endpoint/contract.ts'
import { perfectWire, type WireConditions } from '../../src/sim/network.ts'
import type { SimNode } from '../../src/sim/sim-node.ts'
import { Player, SECOND, SimWorld } from './sim-world.ts'

const MESSAGE_SIZE = 16_384

/** A player that keeps one channel full, and counts what it receives instead of remembering it. */
export class BulkPlayer extends Player {
  receivedBytes = 0
  sentBytes = 0
  /** Messages that were not the next one, whole and unchanged. */
  misplaced = 0
  readonly #message = new Uint8Array(MESSAGE_SIZE)
  #next = 0
  #expected = 0
  #channel: ChannelHandle | undefined
  #paused = false

  override onMessages(node: SimNode, batch: MessageBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const { bytes } = node.endpoint.arena
      this.receivedBytes += batch.length[i]!
      if (batch.length[i] !== MESSAGE_SIZE || !isNumbered(bytes, batch.offset[i]!, this.#expected++)) this.misplaced++
      node.endpoint.consume(node.now(), batch.channel[i] as ChannelHandle, batch.length[i]! + 32)
    }
  }

  override onEvent(node: SimNode, event: EndpointEvent): void {
    super.onEvent(node, event)
    if (event.kind === 'writable' && event.channel === this.#channel) this.#fill(node)
  }

  /** Sends as much as the session takes from now on. */
  flood(other: Player): void {
    this.#channel = this.open(other)
    this.node.act(() => this.#fill(this.node))
  }

  /** Sends nothing more than what is queued. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.node.act(() => this.#fill(this.node))
  }

  #fill(node: SimNode): void {
    const bytes = this.#message
    while (!this.#paused) {
      for (let at = 0; at < MESSAGE_SIZE; at += STEP) writeU32(bytes, at, this.#next + at)
      if (node.endpoint.send(node.now(), this.#channel!, { bytes, offset: 0, length: MESSAGE_SIZE, lane: 255, tag: 0, confirm: false, deadline: never }) !== 'queued') return
      this.#next++
      this.sentBytes += MESSAGE_SIZE
    }
  }

  /** The path in use to the other. */
  pathTo(other: Player): PathStats {
    return this.node.endpoint.peerStats(this.handleOf(other))!.paths.find((path) => path.active)!
  }
}

/** A message is full of its number, so that no fragment can be in the wrong place. */
const STEP = 512

function isNumbered(bytes: Uint8Array, offset: number, number: number): boolean {
  for (let at = 0; at < MESSAGE_SIZE; at += STEP) if (readU32(bytes, offset + at) !== number + at) return false
  return true
}

/** Bytes per microsecond. */
export function megabits(rate: number): number {
  return rate / 8
}

/** A link of some Mbit/s and round trip, with a buffer of so many times what it holds, that loses datagrams both ways. */
export function linkOf(rate: number, rttMs: number, buffer: number, loss = 0): WireConditions {
  return { ...perfectWire, mtu: 1472, rate: megabits(rate), delay: rttMs * 500, queueBytes: Math.max(20_000, buffer * megabits(rate) * rttMs * 1000), loss }
}

/** Two players with a session; the first floods the second. */
export class BulkWorld extends SimWorld {
  readonly sender: BulkPlayer
  readonly receiver: BulkPlayer

  constructor(seed: number, conditions: WireConditions, congestion: 'model' | 'cubic', options: { readonly mayFragment?: boolean; readonly maxDatagram?: number } = {}) {
    super(seed, options.mayFragment)
    this.network.setConditions(conditions)
    this.sender = new BulkPlayer(this, 'sender', 1, '10.0.0.1', { congestion })
    this.receiver = new BulkPlayer(this, 'receiver', 2, '10.0.0.2', { congestion, ...(options.maxDatagram === undefined ? {} : { maxDatagram: options.maxDatagram }) })
    this.join(this.sender, this.receiver)
  }

  /** Makes a session and begins to flood it. */
  join(from: BulkPlayer, to: BulkPlayer): void {
    from.know(to)
    to.know(from)
    from.connect(to)
    if (this.until(() => from.stateOf(to) === 'connected' && to.stateOf(from) === 'connected', 10) === Infinity) throw new Error('no session')
    from.flood(to)
  }

  addressOf(host: string, port: number): Uint8Array {
    return encodeAddress(host, port)!
  }

  /** Mbit/s of messages that the receiver gets in the next `seconds`. */
  goodput(seconds: number): number {
    const before = this.receiver.receivedBytes
    this.run(seconds)
    return ((this.receiver.receivedBytes - before) * 8) / (seconds * SECOND)
  }
}
