import type { UdpAddon } from '../../src/net/udp-native.ts'

type Callback = (event: number, value: number, extra: number) => void

const ROW_INTS = 8
const CAPACITY = 1024

/** The addon's side of a socket, whose kernel the test plays. */
export class FakeUdpAddon implements UdpAddon {
  /** Rows that the kernel takes before it is full. */
  room: number = Infinity
  /** Negative errno with which the next rows fail, `undefined` when they are sent. */
  sendError: number | undefined
  closed: number = 0
  /** [address, length, flags] of each row that was sent. */
  readonly sent: { readonly address: Uint8Array; readonly length: number; readonly flags: number }[] = []
  arena: Uint8Array = new Uint8Array(0)
  slabOffset: number = 0
  slabSize: number = 0
  columns: { address: Uint8Array; offset: Int32Array; length: Int32Array; segmentSize: Int32Array; ecn: Uint8Array; local: Uint8Array } | undefined
  #callback: Callback = () => undefined
  #rows: Int32Array = new Int32Array(0)
  #addresses: Uint8Array = new Uint8Array(0)
  #hints: Int32Array = new Int32Array(0)
  #hintAddresses: Uint8Array = new Uint8Array(0)

  udpOpen(address: Uint8Array, _family: number, features: number, receiveBuffer: number, sendBuffer: number, local: Uint8Array, facts: Int32Array): object {
    local.set(address)
    if (local[16] === 0 && local[17] === 0) local[17] = 100
    facts.set([receiveBuffer, sendBuffer, features & 111])
    return {}
  }

  udpStart(
    _socket: object, callback: Callback, arena: Uint8Array, slabOffset: number, slabSize: number,
    address: Uint8Array, offset: Int32Array, length: Int32Array, segmentSize: Int32Array, ecn: Uint8Array, local: Uint8Array, rows: Int32Array, addresses: Uint8Array, hints: Int32Array, hintAddresses: Uint8Array,
  ): void {
    this.#callback = callback
    this.arena = arena
    this.slabOffset = slabOffset
    this.slabSize = slabSize
    this.columns = { address, offset, length, segmentSize, ecn, local }
    this.#rows = rows
    this.#addresses = addresses
    this.#hints = hints
    this.#hintAddresses = hintAddresses
  }

  /** What ICMP said, in one turn of the loop. */
  hinted(...hints: readonly { readonly errno: number; readonly largest?: number; readonly address: Uint8Array }[]): void {
    hints.forEach(({ errno, largest = 0, address }, i) => {
      this.#hints.set([errno, largest], i * 2)
      this.#hintAddresses.set(address, i * 18)
    })
    this.#callback(4, hints.length, 0)
  }

  udpSend(_socket: object, head: number, count: number): number {
    let done = 0
    for (; done < count && this.room > 0; done++, this.room--) {
      const index = (head + done) % CAPACITY
      const row = this.#rows.subarray(index * ROW_INTS, (index + 1) * ROW_INTS)
      const length = row[1]!
      const datagrams = Math.ceil(length / row[2]!)
      if (this.sendError === undefined) {
        this.sent.push({ address: this.#addresses.slice(index * 18, (index + 1) * 18), length, flags: row[3]! })
        row[4] = datagrams
        row[5] = length
      } else {
        row[6] = datagrams
        row[7] = this.sendError
      }
      row[1] = 0
    }
    return done
  }

  udpClose(): void {
    this.closed++
    setImmediate(() => this.#callback(3, 0, 0))
  }

  /** The kernel has room again, for so many rows. */
  writable(room: number = Infinity): void {
    this.room = room
    this.#callback(1, 0, 0)
  }

  fail(errno: number): void {
    this.#callback(2, errno, 0)
  }

  received(rows: number, empty: number = 0): void {
    this.#callback(0, rows, empty)
  }
}
