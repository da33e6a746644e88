import type { Arena } from '../core/base/arena.ts'
import type { PosternError } from '../core/base/errors.ts'
import type { LinkId, LinkInfo, LinkKind, LinkState, PathHint, ReceiveBatch, RefusalReason, TransmitBatch } from '../core/endpoint/contract.ts'

/**
 * What the daemon needs of every driver. A driver turns one facility of the operating system into whole datagrams and knows
 * nothing of the protocol: it sees addresses, offsets and lengths.
 *
 * A driver calls its host from the event loop only: never from inside `send` or `close`, and never from inside the operating
 * system's completion of a send. So the host may send from any of these calls, no timer starves (a send made in the completion
 * of a send keeps Node's tick queue from ever running empty), and nothing is entered twice.
 */
export interface DriverHost {
  /** Where the driver takes its receive slab from and where all rows of a transmit batch point into. */
  readonly arena: Arena
  /** A new link; the number is unique among open links. The one call that `start` makes itself, before it resolves. */
  opened(info: LinkInfo): LinkId
  /**
   * `blocked`: unsent bytes reached the driver's bound; more is still taken, but should wait for `writable`. `failed`: the link is
   * gone for the reason given; `start` opens it again (a connection is dialed again). `closed`: the last word about a link that was
   * closed on purpose: by this side, unless the cause says that the other did or that something was not delivered.
   */
  changed(link: LinkId, state: Exclude<LinkState, 'opened'>, cause: PosternError | undefined): void
  /**
   * The system refused to send to these addresses (18 bytes each), each at least once since the last word about it, all for the same reason. Said of links
   * that are sockets; what a connection cannot send ends it.
   */
  refused(link: LinkId, addresses: readonly Uint8Array[], reason: RefusalReason): void
  /** The system refused a datagram of `length` bytes as too large for the way out (EMSGSIZE); the smallest since the last word. Said only where it tells the size. */
  tooLarge(link: LinkId, length: number): void
  /** What routers and hosts said by ICMP of datagrams that went out over the link, each destination once since the last word. Anybody can forge it. Said only of sockets that hear it. */
  hinted?(link: LinkId, hints: readonly PathHint[]): void
  /** Datagrams that arrived. Bytes and rows are the driver's again when this returns. */
  received(batch: ReceiveBatch): void
}

/** An open link, for `status` and for sizing windows by what the kernel really gives. */
export interface DriverLink {
  readonly id: LinkId
  readonly info: LinkInfo
  /** Bytes of datagrams that the kernel holds for us before it drops; `undefined` where that is not a number to read. */
  readonly receiveBuffer: number | undefined
  readonly sendBuffer: number | undefined
  /** Bytes taken by `send` that the kernel has not taken yet. */
  readonly unsent: number
  /** What the link does beyond plain datagrams. */
  readonly features?: readonly string[]
}

export interface Driver {
  readonly kind: LinkKind

  /**
   * Opens what is not open. Rejects with a {@link PosternError} that says what to do, and then nothing is open. May be called again
   * after a link failed; whether and how soon is the caller's policy.
   */
  start(): Promise<void>

  /**
   * Sends the rows whose link is open in this driver, in order, and returns how many those are. The slab stays in use until `done`
   * is called: exactly once for each call, later from the event loop, even when no row was taken or the driver closes. What the
   * operating system refuses is counted and lost, as datagrams may be.
   */
  send(batch: TransmitBatch, done: () => void): number

  links(): readonly DriverLink[]

  /** Everything counted since the driver was made, by stable names. */
  stats(): Readonly<Record<string, number>>

  /** Closes every link and gives the receive slab back; resolves when every `done` was called. Safe to call twice. */
  close(): Promise<void>

  [Symbol.asyncDispose](): Promise<void>
}

/** What drivers of connections (TCP, later Bluetooth) say besides. */
export interface ConnectionHost extends DriverHost {
  /** Also said of each connection, once it can carry datagrams. `token` is that of the dial which it answers. */
  opened(info: LinkInfo, token?: number): LinkId
  /** The answer to a dial that opened no link. Each dial that was taken gets one answer, `opened` or this. */
  dialFailed(token: number, cause: PosternError): void
}

export interface DialOptions {
  /** The port to dial from, for punching; when absent, the one that is listened on. A wish: where the system does not grant it, another port is used. */
  readonly localPort?: number
}

/** `full`: too many dials at once, ask again after one of them was answered. `closed`: the driver is not open. */
export type DialResult = 'dialing' | 'full' | 'closed'

/**
 * A driver whose links are connections. Until its host has confirmed a link (a session was authenticated on it), that link counts
 * among the strangers: few in number, few bytes, little time. None of these calls the host from inside; a link that the driver
 * does not have is ignored: one that has ended meanwhile, or whose `opened` has not returned yet.
 */
export interface ConnectionDriver extends Driver {
  /** Opens a link to `address` (18 bytes). `token` names the dial in its answer: any number no other running dial has. */
  dial(address: Uint8Array, token: number, options?: DialOptions): DialResult
  /** The dial fails with `aborted`, unless it was answered already. */
  cancelDial(token: number): void
  /** The link carries a confirmed session: the limits for strangers are lifted. */
  confirm(link: LinkId): void
  /** Ends a link: takes no more rows, delivers what is queued for a moment, then says `closed`. What still arrives is dropped. */
  closeLink(link: LinkId): void
  /** Stops reading, so that the other side feels it. What was read already (64 KiB and little more) is kept until `resume`. */
  pause(link: LinkId): void
  resume(link: LinkId): void
}
