import { readU32, writeU32 } from '../../src/core/base/bytes.ts'
import { never } from '../../src/core/base/time.ts'
import type { ChannelHandle, MessageBatch } from '../../src/core/endpoint/contract.ts'
import type { WireConditions } from '../../src/sim/network.ts'
import type { SimNode } from '../../src/sim/sim-node.ts'
import { Player, SimWorld } from './sim-world.ts'

/** Says something every 10 ms, and remembers when it heard what. */
export class Speaker extends Player {
  sent = 0
  wrong = 0
  readonly heardAt: number[] = []
  #channel: ChannelHandle | undefined

  override onMessages(node: SimNode, batch: MessageBatch): void {
    const { bytes } = node.endpoint.arena
    for (let i = 0; i < batch.count; i++) {
      if (readU32(bytes, batch.offset[i]!) !== this.heardAt.length) this.wrong++
      this.heardAt.push(node.now().mono)
      node.endpoint.consume(node.now(), batch.channel[i] as ChannelHandle, batch.length[i]! + 32)
    }
  }

  say(other: Player, size: number): void {
    this.#channel ??= this.open(other)
    const bytes = new Uint8Array(size)
    writeU32(bytes, 0, this.sent)
    const answer = this.node.act((endpoint, now) => endpoint.send(now, this.#channel!, { bytes, offset: 0, length: size, lane: 255, tag: 0, confirm: false, deadline: never }))
    if (answer === 'queued') this.sent++
  }

  sizeTo(other: Player): number {
    return this.node.endpoint.peerStats(this.handleOf(other))!.paths.find(({ active }) => active)!.datagramSize
  }

  /** The longest time in which it heard nothing, of those that end after `from`. */
  silence(from: number): number {
    return this.heardAt.reduce((longest, at, i) => (at < from ? longest : Math.max(longest, at - Math.max(i === 0 ? from : this.heardAt[i - 1]!, from))), 0)
  }
}

export class TalkWorld extends SimWorld {
  readonly near: Speaker
  readonly far: Speaker

  constructor(seed: number, conditions: WireConditions) {
    super(seed)
    this.network.setConditions(conditions)
    this.near = new Speaker(this, 'near', 1, '10.0.0.1', {})
    this.far = new Speaker(this, 'far', 2, '10.0.0.2', {})
    this.near.know(this.far)
    this.far.know(this.near)
    this.near.connect(this.far)
    this.until(() => this.near.stateOf(this.far) === 'connected' && this.far.stateOf(this.near) === 'connected', 10)
  }

  get sizes(): number[] {
    return [this.near.sizeTo(this.far), this.far.sizeTo(this.near)]
  }

  talk(seconds: number, size: number, both: boolean): void {
    for (let i = 0; i < seconds * 100; i++) {
      this.near.say(this.far, size)
      if (both) this.far.say(this.near, size)
      this.run(0.01)
    }
  }
}
