import type { LinkId, ReceiveBatch, TransmitBatch } from '../core/endpoint/contract.ts'
import type { Flight } from './udp-flight.ts'

/** RFC 768: 65,535 − 8 − the 20 bytes of an IPv4 header. (IPv6 allows 20 more; one limit for both.) */
export const UDP_PAYLOAD_MAX = 65_507

/** What GSO takes at once; where there is none, a burst is only a row that is cut. */
export const SEGMENTS_MAX = 64

/** Where a socket of the driver puts what it receives: a slab in the arena, and rows, which all its sockets share. */
export interface Intake {
  readonly link: LinkId
  /** The whole arena. */
  readonly bytes: Buffer
  readonly slab: number
  readonly slabSize: number
  readonly batch: ReceiveBatch
}

/** What a socket says, from the event loop; but `sendFailed` also from inside a send. */
export interface SocketHandlers {
  /** A datagram in memory of its own, and its source (18 bytes): both are the socket's again when this returns. */
  readonly message: (bytes: Uint8Array, from: Uint8Array) => void
  /** A datagram whose source is no address. */
  readonly unreadable: () => void
  /** The rows of the batch are filled, and their bytes lie in the slab; `empty` counts datagrams that were left out, having no bytes. */
  readonly batch: (empty: number) => void
  readonly error: (error: NodeJS.ErrnoException) => void
  /** Datagrams of `size` bytes that the system did not take: its code, how many, and to which address at `offset`. */
  readonly sendFailed: (code: string, datagrams: number, size: number, address: Uint8Array, offset: number) => void
  /** The address that a row was to leave from is gone: it left from another one. */
  readonly sourceGone: () => void
  /** By ICMP: a datagram to this address at `offset` went no further, for this reason; `largest` is the longest IP packet that does, 0 where that is not it. */
  readonly hinted: (code: string, largest: number, address: Uint8Array, offset: number) => void
  /** Bytes that waited for the kernel have gone. */
  readonly drained: () => void
}

/** One bound socket. Policy (what an error means, when it is blocked, whom to tell) is the driver's. */
export interface UdpSocket {
  readonly family: 4 | 6
  /** 18 bytes: what it is bound to, with the real port. */
  readonly local: Uint8Array
  readonly port: number
  /** Bytes of payload the kernel queues. */
  readonly receiveBuffer: number
  readonly sendBuffer: number
  /** Whether it sends each row with the TTL that the row asks for. */
  readonly carriesTtl: boolean
  /** What it does beyond plain datagrams, for `status`. */
  readonly features: readonly string[]

  /** Starts to receive, and to send. */
  listen(intake: Intake, handlers: SocketHandlers): void
  /** Takes one row, which lies in the arena until the flight has landed: each has one pending count for as long as it takes. */
  send(batch: TransmitBatch, row: number, flight: Flight): void
  /** All rows of a call were taken. */
  flush(): void
  /** Bytes taken that the kernel has not taken yet; 0 once closed. */
  unsent(): number
  /** The 18 bytes of an address in an error of this socket; `false` when it is none of its texts. */
  encode(host: string, port: number, into: Uint8Array): boolean
  /** Resolves when the socket is closed; what was waiting in it has failed with ECANCELED in the same turn of the loop. */
  close(): Promise<void>
}

/** What opens sockets: node:dgram, or the addon. */
export interface UdpEngine {
  /** Bytes of the receive slab that suit it. */
  readonly slabSize: number
  /** Binds to an IP literal; rejects with the system's own error. `only6` keeps `::` from taking IPv4 too. */
  open(host: string, port: number, only6: boolean, buffers: { readonly receive: number; readonly send: number }): Promise<UdpSocket>
  /** Whether an IPv6 socket bound to `::` receives IPv4 too. */
  mapsIPv4(): 'yes' | 'no' | 'unknown'
}

/** Linux doubles what was asked, for its own bookkeeping, and reports the double (socket(7)): half of it is what payload may count on. */
export function usable(reported: number): number {
  return process.platform === 'linux' ? Math.floor(reported / 2) : reported
}
