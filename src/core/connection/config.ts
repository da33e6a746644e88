import { hour, millisecond, minute, second, type Duration } from '../base/time.ts'
import type { CongestionName } from '../flow/controllers.ts'
import { anyPath, type PathPolicy } from '../path/path-policy.ts'

/** Every number of WIRE.md §6.1 that one node may choose for itself. Durations in microseconds, sizes in bytes. */
export interface CoreConfig {
  /** LIMITS that we tell a peer (WIRE.md §3.3). */
  readonly maxData: number
  readonly maxChannelData: number
  readonly maxMessage: number
  readonly maxChannels: number
  readonly maxAckDelay: Duration
  readonly maxDatagram: number
  readonly idleKeep: Duration

  /** Ceilings of what waits to be sent to one peer, shared fairly among its channels; full: `send` says `'blocked'`. */
  readonly queueMessages: number
  readonly queueBytes: number

  readonly rekeyAfter: Duration
  readonly rejectAfter: Duration
  readonly cleanRekeyAfter: Duration
  readonly cleanWipeAfter: Duration
  readonly keyLifeMax: Duration

  readonly attemptTime: Duration
  readonly giveUpAfter: Duration
  readonly quietFirst: Duration
  readonly quietMax: Duration

  /** 0 = none are sent. */
  readonly keepAlive: Duration
  /** An only path with data outstanding and nothing acknowledged for this long is gone. */
  readonly pathGoneAfter: Duration
  readonly channelDecisionTime: Duration
  readonly channelDrainTime: Duration

  /** Share of one core that handshakes of strangers may take, 0 … 1. */
  readonly handshakeShare: number
  /** Whether ids outside the roster are admitted without an invite. */
  readonly admitStrangers: boolean

  /** Plaintext bytes of a datagram on a path whose MTU was not probed. */
  readonly baseSize: number
  /** The same on a connection, which takes any size: small enough that a critical message waits for no long one. A multiple of 64. */
  readonly reliableSize: number
  /** A dial that UDP has not answered for this long tries TCP as well; {@link Infinity}: never. */
  readonly tcpAfter: Duration
  /** Whether this node has Bluetooth: peers in range are dialed by it where the network does not lead to them. */
  readonly ble: boolean
  /** Where XX is answered: by Bluetooth only; over every kind of path, to who knows our presence key; or to everybody. */
  readonly acceptXx: 'ble' | 'all' | 'open'
  /** Which kinds of path may be used, where nothing else is said of a peer. */
  readonly pathPolicy: PathPolicy
  /** Controller of paths that may lose datagrams. */
  readonly congestion: CongestionName
  /** How often a reflexive address is looked at again, and its mapping kept open, while an invite names it; 0 = never. */
  readonly stunRefresh: Duration
  /** Whether ports of a peer's router are guessed, and sockets opened for it to guess. */
  readonly guessPorts: boolean
}

export const defaultConfig: CoreConfig = {
  maxData: 8 << 20,
  maxChannelData: 2 << 20,
  maxMessage: 1 << 20,
  maxChannels: 256,
  maxAckDelay: 10 * millisecond,
  maxDatagram: 65_507,
  idleKeep: 600 * second,
  queueMessages: 32_768,
  queueBytes: 8 << 20,
  rekeyAfter: 120 * second,
  rejectAfter: 180 * second,
  cleanRekeyAfter: hour,
  cleanWipeAfter: 2 * hour,
  keyLifeMax: 24 * hour,
  attemptTime: 5 * second,
  giveUpAfter: 90 * second,
  quietFirst: 30 * second,
  quietMax: 15 * minute,
  keepAlive: 20 * second,
  pathGoneAfter: 10 * second,
  channelDecisionTime: 10 * second,
  channelDrainTime: 10 * second,
  handshakeShare: 0.25,
  admitStrangers: false,
  baseSize: 1152,
  reliableSize: 4096,
  tcpAfter: second,
  ble: false,
  acceptXx: 'ble',
  pathPolicy: anyPath,
  congestion: 'model',
  stunRefresh: 25 * second,
  guessPorts: true,
}

/** What the peer told us in LIMITS, or the defaults (WIRE.md §3.3). */
export interface PeerLimits {
  readonly maxData: number
  readonly maxChannelData: number
  readonly maxMessage: number
  readonly maxChannels: number
  readonly maxAckDelay: Duration
  readonly maxDatagram: number
}
