import { encodeAddress } from '../../src/core/base/address.ts'
import { never } from '../../src/core/base/time.ts'
import type { ChannelHandle, EndpointEvent, MessageBatch, PathStats } from '../../src/core/endpoint/contract.ts'
import { perfectWire, type WireConditions } from '../../src/sim/network.ts'
import type { SimNode } from '../../src/sim/sim-node.ts'
import { Player, SECOND, SimWorld } from './sim-world.ts'

const MESSAGE = new Uint8Array(16_384).fill(7)

/** A player that keeps one channel full, and counts what it receives instead of remembering it. */
export class BulkPlayer extends Player {
  receivedBytes = 0
  #channel: ChannelHandle | undefined
  #paused = false

  override onMessages(node: SimNode, batch: MessageBatch): void {
    for (let i = 0; i < batch.count; i++) {
      this.receivedBytes += batch.length[i]!
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
    while (!this.#paused && node.endpoint.send(node.now(), this.#channel!, { bytes: MESSAGE, offset: 0, length: MESSAGE.length, lane: 255, tag: 0, confirm: false, deadline: never }) === 'queued');
  }

  /** The path in use to the other. */
  pathTo(other: Player): PathStats {
    return this.node.endpoint.peerStats(this.handleOf(other))!.paths.find((path) => path.active)!
  }
}

/** Bytes per microsecond. */
export function megabits(rate: number): number {
  return rate / 8
}

/** A link of some Mbit/s and round trip, with a buffer of so many times what it holds, that loses datagrams both ways. */
export function linkOf(rate: number, rttMs: number, buffer: number, loss = 0): WireConditions {
  return { ...perfectWire, rate: megabits(rate), delay: rttMs * 500, queueBytes: Math.max(20_000, buffer * megabits(rate) * rttMs * 1000), loss }
}

/** Two players with a session; the first floods the second. */
export class BulkWorld extends SimWorld {
  readonly sender: BulkPlayer
  readonly receiver: BulkPlayer

  constructor(seed: number, conditions: WireConditions, congestion: 'model' | 'cubic') {
    super(seed)
    this.network.setConditions(conditions)
    this.sender = new BulkPlayer(this, 'sender', 1, '10.0.0.1', { congestion })
    this.receiver = new BulkPlayer(this, 'receiver', 2, '10.0.0.2', { congestion })
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
