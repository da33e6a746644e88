import { second, type Duration } from '../core/base/time.ts'

/** WIRE.md §7, except where it says ours. */
export interface TcpLimits {
  /** From accept, or from the established connection of a dial, to the other side's preface. */
  readonly preface: Duration
  /** From accept, or from the opened link of a dial, to `confirm`. */
  readonly confirm: Duration
  /** Accepted connections that are not confirmed: in all, and per IPv4 address or IPv6 /64. */
  readonly unconfirmedMax: number
  readonly unconfirmedPrefixMax: number
  /** Bytes of the stream that are read before `confirm`. */
  readonly unconfirmedBytes: number
  /** A record that has begun is complete after this, and a second for each 4 KiB of it. */
  readonly record: Duration
  /** The other side takes something of what is queued within this. */
  readonly slowReader: Duration
  /** Ours: dials under way, and their links that are not confirmed. */
  readonly dialsMax: number
  /** Ours: one attempt of the system to connect. */
  readonly connect: Duration
  /** Ours: how long a link that we close may take to deliver what is queued and to hear the other side's end. */
  readonly linger: Duration
}

export const tcpLimits: TcpLimits = {
  preface: 5 * second,
  confirm: 10 * second,
  unconfirmedMax: 64,
  unconfirmedPrefixMax: 8,
  unconfirmedBytes: 8192,
  record: 10 * second,
  slowReader: 15 * second,
  dialsMax: 32,
  connect: 5 * second,
  linger: second,
}
