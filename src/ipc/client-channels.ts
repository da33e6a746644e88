import { utf8 } from '../core/base/bytes.ts'
import type { Counters } from '../core/base/counters.ts'
import {
  decodeCredit, decodeMessage, encodeMessageHead, LANE_OF_CHANNEL, MESSAGE_CONFIRM, MESSAGE_COST, MESSAGE_HEADER_SIZE, messageFrameSize, MessageHead,
} from '../core/wire/ipc.ts'
import { toBase64 } from '../core/wire/ipc-base64.ts'
import { encodeEvent } from '../core/wire/ipc-json.ts'
import { ipcLanes, type ChannelEnd, type ChannelEndCode, type IpcEventName, type IpcEvents } from '../core/wire/ipc-methods.ts'
import type { IpcOutbox } from '../core/wire/ipc-outbox.ts'
import { ChannelTable, type ChannelRow } from './channel-table.ts'
import type { IpcCounterName } from './counters.ts'
import type { DeliverResult, IncomingMessage, IpcClient, IpcHandler, NewChannel, OfferedChannel } from './handler.ts'

/** Messages of all clients: plain numbers, because a named counter per message would be a lookup per message. */
export interface MessageTally {
  messagesIn: number
  messagesOut: number
  bytesIn: number
  bytesOut: number
}

/** What became of a frame: `blocked` = the router has no room, offer it again; `malformed` ends the connection. */
export type FrameOutcome = 'taken' | 'blocked' | 'malformed'

export interface ClientChannelsOptions {
  readonly handler: IpcHandler
  readonly outbox: IpcOutbox
  /** Called after anything was put into `outbox`. */
  readonly queued: () => void
  readonly tally: MessageTally
  readonly counters: Counters<IpcCounterName>
}

class MessageView implements IncomingMessage {
  channel = 0
  context = 0
  lane: number = LANE_OF_CHANNEL
  tag = 0
  ttlMs = 0
  confirm = false
  bytes: Uint8Array = new Uint8Array(0)
  offset = 0
  length = 0
}

/** The messages and credit of one client, both ways (WIRE.md §8.2, §8.3). */
export class ClientChannels {
  readonly table: ChannelTable = new ChannelTable()
  readonly #client: IpcClient
  readonly #handler: IpcHandler
  readonly #outbox: IpcOutbox
  readonly #queued: () => void
  readonly #tally: MessageTally
  readonly #counters: Counters<IpcCounterName>
  readonly #head = new MessageHead()
  readonly #message = new MessageView()

  constructor(client: IpcClient, options: ClientChannelsOptions) {
    this.#client = client
    this.#handler = options.handler
    this.#outbox = options.outbox
    this.#queued = options.queued
    this.#tally = options.tally
    this.#counters = options.counters
  }

  add(channel: NewChannel): number | undefined {
    return this.table.add(channel, this.#client.peerHandle(channel.peer), 'opening')?.number
  }

  offer(channel: OfferedChannel): number | undefined {
    const row = this.table.add(channel, this.#client.peerHandle(channel.peer), 'offered')
    if (row === undefined) return undefined
    const { peer, app, mode, lane, meta } = channel
    this.#event('event.channel.incoming', { channel: row.number, peer, handle: row.handle, app, mode, lane, meta: toBase64(meta) })
    return row.number
  }

  /** The answer to open is written: what was kept follows it. */
  announce(row: ChannelRow): void {
    for (const frame of row.held) this.#outbox.appendFrame(frame)
    row.held = []
    this.#queued()
  }

  close(channel: number, end: ChannelEnd): void {
    const row = this.table.get(channel)
    if (row === undefined) return
    this.table.remove(channel)
    if (row.state !== 'opening') this.#event('event.channel.closed', { channel, ...end })
  }

  send(channel: number, flags: number, bytes: Uint8Array, offset: number, length: number, lane: number): DeliverResult {
    const row = this.table.get(channel)
    if (row === undefined) return 'closed'
    if (row.deliveryBalance <= 0) return 'no-credit'
    row.deliveryBalance -= length + MESSAGE_COST
    const id = row.nextDelivery
    row.nextDelivery = (id + 1) >>> 0
    this.#tally.messagesOut++
    this.#tally.bytesOut += length
    if (row.state === 'opening') {
      const frame = new Uint8Array(messageFrameSize(length))
      frame.set(bytes.subarray(offset, offset + length), encodeMessageHead(frame, 0, length, channel, flags, lane, row.handle, id))
      row.held.push(frame)
    } else {
      this.#outbox.appendMessage(channel, flags, lane, row.handle, id, bytes, offset, length)
      this.#queued()
    }
    return 'queued'
  }

  grant(channel: number, add: number): void {
    const row = this.table.get(channel)
    if (row === undefined || add <= 0) return
    row.sendBalance += add
    this.#outbox.appendCredit(channel, add)
    this.#queued()
  }

  /** A message frame of the client, body at `offset`. */
  receiveMessage(bytes: Uint8Array, offset: number, length: number): FrameOutcome {
    const head = this.#head
    if (!decodeMessage(bytes, offset, length, head)) return 'malformed'
    const row = this.table.get(head.channel)
    if (row === undefined) return this.#unknown(head.channel)
    const size = length - MESSAGE_HEADER_SIZE
    if (row.sendBalance <= 0) return this.#break(row, 'credit', 'ipc_channel_no_credit', 'A message was written without credit.')
    if (size > row.maxMessage) return this.#break(row, 'limit', 'ipc_channel_too_large', `A message was larger than ${row.maxMessage} bytes.`)
    if (!laneFits(row, head.lane)) return this.#break(row, 'protocol', 'ipc_channel_protocol', 'The lane of a message was not 255 on an ordered channel, or no lane.')
    const message = this.#message
    message.channel = row.number
    message.context = row.context
    message.lane = head.lane
    message.tag = head.first
    message.ttlMs = head.second === 0 ? row.deadlineMs : head.second
    message.confirm = (head.flags & MESSAGE_CONFIRM) !== 0
    message.bytes = bytes
    message.offset = offset + MESSAGE_HEADER_SIZE
    message.length = size
    if (!this.#handler.onMessage(this.#client, message)) return 'blocked'
    row.sendBalance -= size + MESSAGE_COST
    this.#tally.messagesIn++
    this.#tally.bytesIn += size
    return 'taken'
  }

  receiveCredit(bytes: Uint8Array, offset: number, length: number): FrameOutcome {
    const credit = decodeCredit(bytes, offset, length)
    if (credit.kind === 'malformed') return 'malformed'
    const row = this.table.get(credit.channel)
    if (row === undefined) return this.#unknown(credit.channel)
    // A client gives back what it took. More would let it open the peer's window without limit.
    const cost = Math.min(credit.add, row.window - row.deliveryBalance)
    if (cost > 0) {
      row.deliveryBalance += cost
      this.#handler.onCredit(this.#client, row.number, row.context, cost)
    }
    return 'taken'
  }

  /** Frames for a channel that has closed meanwhile are right; for one that never was, the client is confused. */
  #unknown(channel: number): FrameOutcome {
    if (!this.table.wasGiven(channel)) return 'malformed'
    this.#counters.add('ipc_ignored_closed_channel')
    return 'taken'
  }

  #break(row: ChannelRow, code: ChannelEndCode, counter: IpcCounterName, reason: string): FrameOutcome {
    const end: ChannelEnd = { code, reason, by: 'daemon' }
    this.#counters.add(counter)
    this.close(row.number, end)
    this.#handler.onChannelBroken(this.#client, row.number, row.context, end)
    return 'taken'
  }

  #event<N extends IpcEventName>(name: N, params: IpcEvents[N]): void {
    this.#outbox.appendJson(utf8(encodeEvent(name, params)), true)
    this.#queued()
  }
}

function laneFits(row: ChannelRow, lane: number): boolean {
  return lane === LANE_OF_CHANNEL || (lane < ipcLanes.length && row.mode !== 'reliable-ordered')
}
