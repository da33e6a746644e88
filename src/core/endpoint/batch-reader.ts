import { ADDRESS_SIZE } from '../base/address.ts'
import type { LinkId } from '../base/domain.ts'
import type { Now } from '../base/time.ts'
import { AeadBatch } from '../crypto/aead-batch.ts'
import type { Connection } from '../connection/connection.ts'
import { counter } from '../connection/host.ts'
import { REKEY_MESSAGES } from '../connection/keys/keys.ts'
import { classify, datagramKind, readTransportCounter, readTransportIndex, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD } from '../wire/datagram.ts'
import { decodeHandshakeFragment, MESSAGE_A } from '../wire/handshake-fragment.ts'
import type { ReceiveBatch } from './contract.ts'
import type { Handshakes } from './handshakes/handshakes.ts'
import { heardByScout } from './link-inputs.ts'
import type { Link } from './links.ts'
import type { Node } from './node.ts'
import type { IndexEntry } from './receiver-index.ts'
import type { Resets } from './resets.ts'
import type { Responder } from './handshakes/responder.ts'

/** Datagrams opened by one call into the provider. */
const OPENS_MAX = 256

type Openable = Extract<IndexEntry, { kind: 'keys' | 'half-open' }>

/**
 * One batch of received datagrams, in order: sorted by first byte, transport datagrams collected and opened together, all
 * others handled as they come (after what was collected before them).
 */
export class BatchReader {
  readonly #node: Node
  readonly #handshakes: Handshakes
  readonly #responder: Responder
  readonly #resets: Resets
  readonly #opens = new AeadBatch(OPENS_MAX)
  readonly #entries: Openable[] = []
  readonly #rows = new Int32Array(OPENS_MAX)
  readonly #touched: Connection[] = []
  #lastIndex = 0
  #lastEntry: Openable | undefined

  constructor(node: Node, handshakes: Handshakes, responder: Responder, resets: Resets) {
    this.#node = node
    this.#handshakes = handshakes
    this.#responder = responder
    this.#resets = resets
  }

  read(now: Now, batch: ReceiveBatch): void {
    let datagrams = 0
    let bytes = 0
    for (let row = 0; row < batch.count; row++) {
      const length = batch.length[row]!
      let offset = batch.offset[row]!
      const end = offset + length
      const segment = Math.max(1, batch.segmentSize[row]!)
      bytes += length
      // An empty datagram is one, too.
      datagrams += Math.max(1, Math.ceil(length / segment))
      do this.#datagram(now, batch, row, offset, Math.min(segment, end - offset))
      while ((offset += segment) < end)
    }
    this.#flush(now, batch)
    this.#node.counters.add(counter.datagrams_received, datagrams)
    this.#node.counters.add(counter.bytes_received, bytes)
    for (const connection of this.#touched) {
      connection.touched = false
      connection.afterBatch(now)
      this.#node.reschedule(connection)
    }
    this.#touched.length = 0
    this.#node.heardAt = 0
    this.#lastEntry = undefined
  }

  #datagram(now: Now, batch: ReceiveBatch, row: number, offset: number, length: number): void {
    const node = this.#node
    const bytes = node.arena.bytes
    const kind = classify(bytes, offset, length)
    if (kind === datagramKind.transport) {
      this.#transport(now, batch, row, offset, length)
      return
    }
    this.#flush(now, batch)
    this.#lastEntry = undefined
    const link = batch.link[row]! as LinkId
    const facts = node.links.get(link)
    node.heardAt = batch.local[row]!
    if (facts === undefined) {
      node.counters.add('drop_link_unknown')
      return
    }
    switch (kind) {
      case datagramKind.handshake:
        this.#handshake(now, facts, batch.address, row * ADDRESS_SIZE, offset, length)
        return
      case datagramKind.cookie:
        node.links.fault(facts)
        if (!heardByScout(node, now, facts)) this.#handshakes.onCookie(now, addressOf(batch, row), bytes, offset)
        return
      case datagramKind.reset:
        this.#resets.onReset(now, bytes, offset)
        return
      case datagramKind.knock:
        if (node.punching === undefined) node.counters.add('drop_knock')
        else node.punching.handleKnock(now, link, addressOf(batch, row), bytes, offset, length)
        return
      case datagramKind.hint:
        node.counters.add('drop_hint')
        return
      case datagramKind.stun:
        node.stun?.handleDatagram(now, link, addressOf(batch, row), bytes, offset, length)
        return
      case datagramKind.turnChannel:
        node.counters.add('drop_turn')
        return
      case datagramKind.dropSize:
        node.links.fault(facts)
        node.counters.add('drop_bad_size')
        return
      case datagramKind.dropVersion:
        node.links.fault(facts)
        node.counters.add('drop_version')
        return
      default:
        node.links.fault(facts)
        node.counters.add('drop_unknown_type')
    }
  }

  #handshake(now: Now, link: Link, address: Uint8Array, addressOffset: number, offset: number, length: number): void {
    const node = this.#node
    const bytes = node.arena.bytes
    const fragment = decodeHandshakeFragment(bytes, offset, length)
    if (fragment.kind === 'malformed') {
      node.links.fault(link)
      node.counters.add('drop_malformed_handshake')
      return
    }
    if (heardByScout(node, now, link)) return
    const from = address.slice(addressOffset, addressOffset + ADDRESS_SIZE)
    if (fragment.message !== MESSAGE_A) this.#handshakes.onAnswer(now, fragment, link.id, from, bytes, offset, length)
    else if (node.links.mayInitiate(link)) this.#responder.onInitiation(now, fragment, { link: link.id, kind: link.kind, address: from, local: node.heardAt }, bytes, offset, length)
    else node.counters.add('drop_rate_limited')
  }

  /** Looks the keys up and filters replays; the tag is verified with the others of the batch. */
  #transport(now: Now, batch: ReceiveBatch, row: number, offset: number, length: number): void {
    const node = this.#node
    const bytes = node.arena.bytes
    const index = readTransportIndex(bytes, offset)
    let entry = this.#lastEntry
    if (entry === undefined || index !== this.#lastIndex) {
      const found = node.index.get(index)
      if (found === undefined || (found.kind !== 'keys' && found.kind !== 'half-open')) {
        node.counters.add(found === undefined ? 'drop_unknown_index' : 'drop_no_keys')
        if (found === undefined) this.#resets.answer(now, index, batch.link[row]! as LinkId, batch.address, row * ADDRESS_SIZE, batch.local[row]!)
        node.links.fault(node.links.get(batch.link[row]! as LinkId))
        return
      }
      entry = found
      this.#lastEntry = found
      this.#lastIndex = index
    }
    const counter = readTransportCounter(bytes, offset)
    // Negative: beyond 2^53, where a double could not tell it from its neighbours.
    if (counter < 0 || counter >= REKEY_MESSAGES || !entry.keys.replay.check(counter)) {
      node.counters.add('drop_replay')
      // On a connection of its session a copy is none's fault. From anybody else it is what an unknown index is, or who bears it in patience would be known by that.
      const from = node.links.get(batch.link[row]! as LinkId)
      if (entry.kind !== 'keys' || from?.owner !== entry.connection) node.links.fault(from)
      return
    }
    const opens = this.#opens
    this.#entries.push(entry)
    this.#rows[opens.count] = row
    opens.push(entry.keys.open, counter, offset + TRANSPORT_HEADER_SIZE, length - TRANSPORT_OVERHEAD)
    if (opens.count === OPENS_MAX) this.#flush(now, batch)
  }

  #flush(now: Now, batch: ReceiveBatch): void {
    const opens = this.#opens
    const count = opens.count
    if (count === 0) return
    this.#node.provider.openBatch(this.#node.arena.bytes, opens)
    for (let i = 0; i < count; i++) this.#opened(now, batch, i)
    opens.count = 0
    this.#entries.length = 0
    // What was read may have wiped these keys: their slot is free, or somebody else's.
    this.#lastEntry = undefined
  }

  #opened(now: Now, batch: ReceiveBatch, i: number): void {
    const node = this.#node
    const entry = this.#entries[i]!
    const keys = entry.keys
    const length = this.#opens.length[i]!
    if (length < 0) {
      node.counters.add('drop_authentication')
      node.links.fault(node.links.get(batch.link[this.#rows[i]!]! as LinkId))
      if (entry.kind === 'keys') entry.connection.onFailedOpen(now, keys)
      return
    }
    if (keys.wiped) {
      node.counters.add('drop_wiped')
      return
    }
    const counter = this.#opens.counter[i]!
    const newest = counter > keys.replay.greatest
    // Written only now: before the tag verified, a forger could have pushed the window.
    if (!keys.replay.mark(counter)) {
      node.counters.add('drop_replay')
      return
    }
    const row = this.#rows[i]!
    const link = batch.link[row]! as LinkId
    node.heardAt = batch.local[row]!
    const connection = entry.kind === 'keys' ? entry.connection : this.#confirm(now, entry, batch, row, link)
    if (connection === undefined) return
    const from = node.links.get(link)
    if (from?.reliable === true && !node.links.claim(from, connection)) {
      node.counters.add('drop_link_taken')
      return
    }
    if (!connection.touched) {
      connection.touched = true
      this.#touched.push(connection)
    }
    const offset = this.#opens.offset[i]!
    connection.onDatagram(now, keys, counter, newest, link, batch.address, row * ADDRESS_SIZE, offset, offset + length)
  }

  #confirm(now: Now, entry: Extract<Openable, { kind: 'half-open' }>, batch: ReceiveBatch, row: number, link: LinkId): Connection | undefined {
    // The index may have been confirmed by a datagram earlier in this batch.
    const current = this.#node.index.get(entry.keys.localIndex)
    if (current?.kind === 'keys' && current.keys === entry.keys) return current.connection
    if (current !== entry) {
      this.#node.counters.add('drop_closed')
      return undefined
    }
    const connection = this.#handshakes.confirm(now, entry, link, batch.address, row * ADDRESS_SIZE)
    if (connection === undefined) {
      this.#node.counters.add('drop_not_admitted')
      this.#responder.drop(entry)
    } else {
      this.#responder.take(entry)
    }
    return connection
  }
}

function addressOf(batch: ReceiveBatch, row: number): Uint8Array {
  return batch.address.slice(row * ADDRESS_SIZE, (row + 1) * ADDRESS_SIZE)
}
