import { CHANNEL_SLOT_BITS, channelSlot, type ChannelHandle } from '../base/domain.ts'
import type { Channel } from '../connection/channels/channel.ts'
import type { Connection } from '../connection/connection.ts'

const SLOTS_MAX = 1 << CHANNEL_SLOT_BITS
const GENERATIONS = 1 << (31 - CHANNEL_SLOT_BITS)

/** All channels of all sessions by handle. A slot is used again with the next generation, so an old handle finds nothing. */
export class ChannelTable {
  readonly #channels: (Channel | undefined)[] = []
  readonly #owners: (Connection | undefined)[] = []
  readonly #generations: number[] = []
  readonly #free: number[] = []
  /** Channels in the table. */
  size = 0

  /** `undefined` when a million channels are open. */
  add(owner: Connection, create: (handle: ChannelHandle) => Channel): Channel | undefined {
    const slot = this.#free.pop() ?? this.#channels.length
    if (slot >= SLOTS_MAX) return undefined
    const generation = this.#generations[slot] ?? 0
    const channel = create((slot | (generation << CHANNEL_SLOT_BITS)) as ChannelHandle)
    this.#channels[slot] = channel
    this.#owners[slot] = owner
    this.#generations[slot] = generation
    this.size++
    return channel
  }

  remove(channel: Channel): void {
    const slot = channelSlot(channel.handle)
    if (this.#channels[slot] !== channel) return
    this.#channels[slot] = undefined
    this.#owners[slot] = undefined
    this.#generations[slot] = (this.#generations[slot]! + 1) % GENERATIONS
    this.#free.push(slot)
    this.size--
  }

  get(handle: ChannelHandle): Channel | undefined {
    const channel = this.#channels[channelSlot(handle)]
    return channel?.handle === handle ? channel : undefined
  }

  /** The session of a channel that {@link get} just found. */
  owner(handle: ChannelHandle): Connection {
    return this.#owners[channelSlot(handle)]!
  }
}
