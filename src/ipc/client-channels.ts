import { readU32, utf8 } from '../core/base/bytes.ts'
import type { MessageRun } from '../core/base/message-run.ts'
import type { Counters } from '../core/base/counters.ts'
import {
  decodeCredit, decodeMany, decodeMessage, encodeMessageHead, LANE_OF_CHANNEL, MANY_ENTRY_SIZE, MANY_HEADER_SIZE, MESSAGE_CONFIRM, MESSAGE_COST, MESSAGE_GAP, MESSAGE_HEADER_SIZE, MESSAGE_REPEATED, messageFrameSize,
  MessageHead,
} from '../core/wire/ipc/ipc.ts'
import type { Instant } from '../core/base/time.ts'
import { toBase64 } from '../core/wire/ipc/ipc-base64.ts'
import { encodeEvent } from '../core/wire/ipc/ipc-json.ts'
import { ipcLanes, type ChannelEnd, type ChannelEndCode, type IpcEventName, type IpcEvents, type ResumedChannel } from '../core/wire/ipc/ipc-methods.ts'
import type { IpcFrameReader } from '../core/wire/ipc/ipc-reader.ts'
import { isTagAfter, RetainedView } from '../core/wire/ipc/ipc-retained.ts'
import { ChannelTable, type ChannelRow } from './channel-table.ts'
import type { ClientOutbox } from './client-outbox.ts'
import type { IpcCounterName } from './counters.ts'
import { EndedChannels } from './ended-channels.ts'
import type { DeliveredRows, DeliverResult, IncomingMessage, IpcClient, IpcHandler, NewChannel, OfferedChannel } from './handler.ts'

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
  /** Of the connection the client has now. */
  readonly outbox: () => ClientOutbox
  /** Called after anything was put into `outbox`. */
  readonly queued: () => void
  readonly tally: MessageTally
  readonly counters: Counters<IpcCounterName>
  /** Filled again and again, by all clients in turn. */
  readonly run: MessageRun
}

/** Runs of notices of one channel that are kept while its client is away; more are lost, and counted. */
const NOTICES_KEPT_MAX = 1024
/** Runs that are told once more when the client comes back: what the buffers of a socket hold of them, as long as it is read. */
const NOTICES_TOLD_MAX = 256

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
  readonly #outbox: () => ClientOutbox
  readonly #queued: () => void
  readonly #tally: MessageTally
  readonly #counters: Counters<IpcCounterName>
  readonly #head = new MessageHead()
  readonly #message = new MessageView()
  readonly #view = new RetainedView()
  readonly #run: MessageRun
  /** Channels with messages, or their end, to write as the socket has room. */
  readonly #backlog = new Set<ChannelRow>()
  /** Channels that ended a moment ago: whether the client read so is not known yet. */
  readonly #ended = new EndedChannels()
  #detached = false
  /** Entries of the frame under way that were taken; the router had no room for the next. */
  #manyTaken = 0
  /** So many messages are taken one by one. */
  #singly = 0

  constructor(client: IpcClient, options: ClientChannelsOptions) {
    this.#client = client
    this.#handler = options.handler
    this.#outbox = options.outbox
    this.#queued = options.queued
    this.#tally = options.tally
    this.#counters = options.counters
    this.#run = options.run
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
    for (const frame of row.held) this.#outbox().frames.appendFrame(frame)
    row.held = []
    if (row.notices.length > 0) this.#tellNotices(row)
    if (row.retained !== undefined && row.retained.unsent > 0) this.#backlog.add(row)
    this.#queued()
  }

  close(channel: number, end: ChannelEnd): void {
    const row = this.table.get(channel)
    if (row === undefined || row.end !== undefined) return
    if (row.state === 'opening') {
      this.table.remove(channel)
      return
    }
    row.end = end
    if (this.#detached || (row.retained?.unsent ?? 0) > 0) this.#backlog.add(row)
    else this.#tellEnd(row, end)
  }

  send(channel: number, flags: number, bytes: Uint8Array, offset: number, length: number, lane: number): DeliverResult {
    const row = this.table.get(channel)
    if (row === undefined || row.end !== undefined) return 'closed'
    if (row.deliveryBalance <= 0) return 'no-credit'
    const { retained } = row
    if (retained === undefined && this.#detached) {
      row.gap = true
      return 'no-credit'
    }
    row.deliveryBalance -= length + MESSAGE_COST
    const id = row.nextDelivery
    row.nextDelivery = (id + 1) >>> 0
    this.#tally.messagesOut++
    this.#tally.bytesOut += length
    if (retained === undefined) {
      const marked = row.gap ? flags | MESSAGE_GAP : flags
      row.gap = false
      if (row.state !== 'opening') this.#write(row, marked, lane, id, bytes, offset, length)
      else row.held.push(messageFrame(row, marked, lane, id, bytes, offset, length))
      return 'queued'
    }
    const direct = row.state !== 'opening' && !this.#detached && retained.unsent === 0
    retained.push(direct, flags, lane, 0, bytes, offset, length)
    if (direct) {
      this.#write(row, flags, lane, id, bytes, offset, length)
    } else if (row.state !== 'opening') {
      this.#backlog.add(row)
      if (!this.#detached) this.#queued()
    }
    return 'queued'
  }

  /** How many of the rows were queued, from the first on: none but those of a channel that is open, with a connection, that nothing waits for. */
  sendRun(channel: number, bytes: Uint8Array, rows: DeliveredRows, from: number, to: number): number {
    const row = this.table.get(channel)
    if (row === undefined || row.end !== undefined || row.state === 'opening' || row.gap || this.#detached || (row.retained?.unsent ?? 0) > 0) return 0
    let size = 0
    let end = from
    let balance = row.deliveryBalance
    while (end < to && balance > 0 && rows.flags[end] === 0) {
      size += rows.length[end]!
      balance -= rows.length[end]! + MESSAGE_COST
      end++
    }
    if (end === from) return 0
    const id = row.nextDelivery
    row.deliveryBalance = balance
    row.nextDelivery = (id + end - from) >>> 0
    this.#tally.messagesOut += end - from
    this.#tally.bytesOut += size
    this.#outbox().frames.appendRun(row.number, row.handle, id, bytes, rows, from, end, row.retained)
    this.#queued()
    return end - from
  }

  grant(channel: number, add: number): void {
    const row = this.table.get(channel)
    if (row === undefined || row.end !== undefined || add <= 0) return
    row.sendBalance += add
    if (this.#detached) return
    this.#outbox().frames.appendCredit(channel, add)
    this.#queued()
  }

  /** Writes what waits in channels, while the client's socket has room. */
  pump(now: Instant): void {
    if (this.#detached) return
    this.#ended.forget(now)
    const outbox = this.#outbox()
    const view = this.#view
    for (const row of this.#backlog) {
      const { retained } = row
      if (row.notices.length > 0) this.#tellNotices(row)
      while (retained !== undefined && retained.unsent > 0) {
        if (outbox.congested) {
          outbox.wantRoom()
          return
        }
        const id = (row.nextDelivery - retained.unsent) >>> 0
        retained.next(view)
        this.#write(row, view.flags, view.lane, id, view.bytes, view.offset, view.length)
      }
      this.#backlog.delete(row)
      if (row.end !== undefined) this.#tellEnd(row, row.end)
    }
  }

  /** Whether there is anything that a client which comes back would miss. */
  get resumable(): boolean {
    for (const row of this.table.rows()) if (row.state === 'open' || row.end !== undefined) return true
    return this.#ended.size > 0
  }

  /** The connection is gone, the channels stay. Those whose opening was not finished end: the client never knew, or could not decide. */
  detach(): void {
    this.#detached = true
    this.#manyTaken = 0
    this.#backlog.clear()
    for (const row of [...this.table.rows()]) {
      if (row.state === 'open' || row.end !== undefined) continue
      this.table.remove(row.number)
      const end: ChannelEnd = { code: 'app_gone', reason: 'The app lost its connection.', by: 'daemon' }
      this.#handler.onChannelBroken(this.#client, row.number, row.context, end)
    }
  }

  /**
   * The client has a connection again, and has had messages up to these delivery numbers: what it may not have is written again
   * by the next {@link pump}, after the answer to hello.
   */
  attach(received: ReadonlyMap<number, number>): ResumedChannel[] {
    this.#detached = false
    for (const row of this.#ended.takeAll()) this.table.restore(row)
    const channels: ResumedChannel[] = []
    for (const row of this.table.rows()) {
      this.#restart(row, received.get(row.number))
      row.repeatedTag = row.acceptedTag
      row.notices.unshift(...row.told.splice(0))
      channels.push({ channel: row.number, acceptedTag: row.acceptedTag, sendCredit: row.sendBalance })
      if ((row.retained?.unsent ?? 0) > 0 || row.end !== undefined || row.notices.length > 0) this.#backlog.add(row)
    }
    return channels
  }

  clear(): void {
    this.table.clear()
    this.#backlog.clear()
    this.#ended.clear()
  }

  /** The delivery account of a channel begins anew: what the client has had counts as taken, the rest is charged and written again. */
  #restart(row: ChannelRow, last: number | undefined): void {
    const { retained, window } = row
    const handed = last === undefined ? 0 : (last + 1) >>> 0
    const missed = (row.nextDelivery - handed) >>> 0
    if (retained === undefined) {
      if (missed > 0) row.gap = true
    } else {
      retained.drop(Math.max(0, retained.count - missed))
      retained.rewind(MESSAGE_REPEATED)
    }
    const balance = window - (retained?.cost ?? 0)
    const taken = balance - row.deliveryBalance
    if (taken <= 0) return
    row.deliveryBalance = balance
    if (row.end === undefined) this.#handler.onCredit(this.#client, row.number, row.context, taken)
  }

  /** The client cannot be told now: it is when it has come back, or has the answer to open. */
  #keepNotice(row: ChannelRow, what: number, reason: number, firstTag: number, lastTag: number): void {
    if (row.notices.length === NOTICES_KEPT_MAX) {
      this.#counters.add('ipc_notices_lost')
      return
    }
    row.notices.push({ what, reason, firstTag, lastTag })
    if (this.#detached) this.#backlog.add(row)
  }

  #tellNotices(row: ChannelRow): void {
    for (const { what, reason, firstTag, lastTag } of row.notices.splice(0)) this.#tellNotice(row, what, reason, firstTag, lastTag)
    this.#queued()
  }

  #tellNotice(row: ChannelRow, what: number, reason: number, firstTag: number, lastTag: number): void {
    row.told.push({ what, reason, firstTag, lastTag })
    if (row.told.length > NOTICES_TOLD_MAX) row.told.shift()
    this.#outbox().frames.appendNotice(row.number, what, reason, firstTag, lastTag)
  }

  #tellEnd(row: ChannelRow, end: ChannelEnd): void {
    this.table.remove(row.number)
    this.#ended.add(row)
    this.#event('event.channel.closed', { channel: row.number, ...end })
  }

  #write(row: ChannelRow, flags: number, lane: number, id: number, bytes: Uint8Array, offset: number, length: number): void {
    this.#outbox().frames.appendMessage(row.number, flags, lane, row.handle, id, bytes, offset, length)
    this.#queued()
  }

  /** What became of messages of the client. */
  notice(channel: number, what: number, reason: number, firstTag: number, lastTag: number): void {
    const row = this.table.get(channel)
    if (row === undefined || row.end !== undefined) return
    if (this.#detached || row.state === 'opening') {
      this.#keepNotice(row, what, reason, firstTag, lastTag)
      return
    }
    this.#tellNotice(row, what, reason, firstTag, lastTag)
    this.#queued()
  }

  /** The message frame in the reader, and those behind it that can be taken together with it. */
  receiveMessages(reader: IpcFrameReader): FrameOutcome {
    const head = this.#head
    const { bytes, offset, length } = reader
    if (!decodeMessage(bytes, offset, length, head)) return 'malformed'
    if (this.#singly > 0) this.#singly--
    else if (head.flags === 0 && head.lane === LANE_OF_CHANNEL && head.second === 0 && this.#receiveRun(head, reader)) return 'taken'
    return this.#receive(head, bytes, offset + MESSAGE_HEADER_SIZE, length - MESSAGE_HEADER_SIZE)
  }

  /** Whether the message in the reader was taken, with as many behind it as the reader is now past. */
  #receiveRun(head: MessageHead, reader: IpcFrameReader): boolean {
    const row = this.table.get(head.channel)
    if (row === undefined || row.end !== undefined || row.repeatedTag !== 0 || row.deadlineMs !== 0 || row.sendBalance <= 0) return false
    if (reader.length - MESSAGE_HEADER_SIZE > row.maxMessage) return false
    const run = this.#run
    reader.nextRun(run, row.sendBalance, row.maxMessage)
    const taken = run.count > 1 ? this.#handler.onRun(this.#client, row.number, row.context, run) : 0
    // Who has no room for the rest has none for each of them: they are not gathered once more for every one.
    this.#singly = run.count - Math.max(taken, 1)
    reader.stepBack(run, Math.max(taken, 1))
    if (taken > 0) {
      const size = run.sizeOf(taken)
      row.acceptedTag = run.tag[taken - 1]! === 0 ? row.acceptedTag : run.tag[taken - 1]!
      row.sendBalance -= size + taken * MESSAGE_COST
      this.#tally.messagesIn += taken
      this.#tally.bytesIn += size
    }
    run.end()
    return taken > 0
  }

  /** One message for many channels: as so many frames in a row. */
  receiveMany(bytes: Uint8Array, offset: number, length: number): FrameOutcome {
    const many = decodeMany(bytes, offset, length)
    if (many === undefined) return 'malformed'
    const head = this.#head
    for (let at = offset + MANY_HEADER_SIZE + MANY_ENTRY_SIZE * this.#manyTaken; this.#manyTaken < many.count; this.#manyTaken++, at += MANY_ENTRY_SIZE) {
      head.channel = readU32(bytes, at)
      head.flags = many.flags
      head.lane = many.lane
      head.first = readU32(bytes, at + 4)
      head.second = many.ttlMs
      const outcome = this.#receive(head, bytes, offset + many.start, length - many.start)
      if (outcome !== 'taken') return outcome
    }
    this.#manyTaken = 0
    return 'taken'
  }

  #receive(head: MessageHead, bytes: Uint8Array, offset: number, size: number): FrameOutcome {
    const row = this.table.get(head.channel)
    if (row === undefined) return this.#unknown(head.channel)
    if (row.end !== undefined) return 'taken'
    if (row.repeatedTag !== 0 && head.first !== 0 && this.#isRepeated(row, head.first, size)) return 'taken'
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
    message.offset = offset
    message.length = size
    if (!this.#handler.onMessage(this.#client, message)) return 'blocked'
    if (head.first !== 0) row.acceptedTag = head.first
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
      row.retained?.credit(cost)
      if (row.end === undefined) this.#handler.onCredit(this.#client, row.number, row.context, cost)
    }
    return 'taken'
  }

  /** Whether a message was taken before the connection was lost. It was written, so it is charged; nothing becomes of it, so that is given back. */
  #isRepeated(row: ChannelRow, tag: number, size: number): boolean {
    if (isTagAfter(tag, row.repeatedTag)) {
      row.repeatedTag = 0
      return false
    }
    this.#counters.add('ipc_ignored_repeats')
    row.sendBalance -= size + MESSAGE_COST
    this.grant(row.number, size + MESSAGE_COST)
    return true
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
    this.#outbox().frames.appendJson(utf8(encodeEvent(name, params)), true)
    this.#queued()
  }
}

function messageFrame(row: ChannelRow, flags: number, lane: number, id: number, bytes: Uint8Array, offset: number, length: number): Uint8Array {
  const frame = new Uint8Array(messageFrameSize(length))
  frame.set(bytes.subarray(offset, offset + length), encodeMessageHead(frame, 0, length, row.number, flags, lane, row.handle, id))
  return frame
}

function laneFits(row: ChannelRow, lane: number): boolean {
  return lane === LANE_OF_CHANNEL || (lane < ipcLanes.length && row.mode !== 'reliable-ordered')
}
