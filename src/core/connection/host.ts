import type { Arena } from '../base/arena.ts'
import { counterPlaces, type Counters } from '../base/counters.ts'
import type { ChannelHandle, EndReason, LinkId, LinkKind, PeerHandle } from '../base/domain.ts'
import type { Duration, Now } from '../base/time.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import type { Initiation } from '../session/initiation.ts'
import type { PresenceKey } from '../session/presence.ts'
import type { Attempts } from '../path/attempts.ts'
import type { OwnCandidates } from '../path/candidates.ts'
import type { BirthdayRole } from '../path/birthday.ts'
import type { MappingClass } from '../stun/nat-classes.ts'
import type { PathDecision } from '../path/path-log.ts'
import type { RekeyInitiation, RekeyResult } from '../session/rekey.ts'
import type { LaneTally } from '../flow/lane-tally.ts'
import type { Channel, DeliveryQueue, NoticeSink } from './channels/channel.ts'
import type { CoreConfig } from './config.ts'
import type { SessionEvent } from './events.ts'
import type { Keys } from './keys/keys.ts'
import type { CarrierKind } from './dialing/pending-dials.ts'

/** Everything that is counted in the core. Documented in docs/counters.md. */
export const counterNames = [
  'datagrams_received', 'datagrams_sent', 'bytes_received', 'bytes_sent', 'handshakes_completed', 'handshakes_refused', 'refusals_sent',
  'rekeys_begun', 'rekeys_completed', 'rekeys_unanswered', 'rekeys_ignored', 'rekeys_failed',
  'messages_sent', 'messages_received', 'packets_lost', 'packets_lost_spurious', 'frames_retransmitted', 'probes_sent', 'acks_sent', 'mtu_probes_sent', 'mtu_black_holes',
  // Dropped on arrival, by reason
  'drop_unknown_type', 'drop_turn', 'drop_bad_size', 'drop_version', 'drop_malformed_handshake', 'drop_mac1', 'drop_mac2',
  'drop_rate_limited', 'drop_suite', 'drop_replayed_handshake', 'drop_stale_handshake', 'drop_handshake_noise', 'drop_handshake_payload',
  'drop_handshake_queue', 'drop_reassembly', 'drop_not_admitted', 'drop_self', 'drop_cookie', 'drop_hint', 'drop_reset', 'drop_knock',
  'drop_unknown_index', 'drop_no_keys', 'drop_replay', 'drop_authentication', 'drop_wiped', 'drop_no_room', 'drop_closed',
  'drop_path_limit', 'drop_link_unknown', 'drop_link_taken', 'drop_path_policy',
  // STUN
  'stun_requests', 'stun_repeats', 'stun_answers', 'stun_refusals', 'stun_timeouts', 'stun_full', 'drop_stun', 'drop_stun_forged',
  // Done
  'cookies_sent', 'resets_sent', 'resets_received', 'xx_refused', 'xx_replaced', 'presence_received', 'presence_refused', 'pairings_begun', 'pairings_done', 'pairings_failed', 'pairings_forged', 'pairings_stalled', 'pairings_displaced', 'sessions_opened', 'sessions_closed', 'sessions_restarted', 'paths_migrated', 'paths_validated', 'paths_failed', 'paths_quarantined', 'sends_refused', 'network_changes',
  'links_dialed', 'links_dial_failed', 'links_confirmed', 'links_closed_faults', 'links_closed_unused',
  'messages_dropped_no_credit', 'messages_dropped_reassembly', 'messages_dropped_deadline', 'messages_dropped_oldest', 'messages_dropped_newest',
  'messages_dropped_lane', 'messages_dropped_superseded', 'messages_dropped_peer_gone', 'messages_dropped_channel_closed', 'messages_lost',
  'notices_lost', 'sends_blocked', 'channels_refused', 'channels_timed_out', 'consumers_gone',
  'raw_queue_full', 'hints_heard', 'hints_followed', 'challenges_ignored', 'observations_ignored', 'candidates_received', 'candidates_refused', 'probes_withheld', 'birthdays_begun', 'birthdays_met', 'birthdays_in_vain', 'birthdays_called_off', 'birthdays_refused', 'knocks_sent', 'knocks_received', 'knocks_withheld', 'punches_begun', 'punches_met', 'punches_in_vain', 'punches_sent', 'punches_received', 'punches_ignored', 'grease_skipped', 'extensions_skipped',
  'close_protocol', 'close_frame_encoding', 'close_flow_control', 'close_limit',
] as const
export type CounterName = (typeof counterNames)[number]

/** For what is counted per datagram or per message; the rest is counted by name. */
export const counter: Readonly<Record<CounterName, number>> = counterPlaces(counterNames)

/** What the endpoint's ring of sessions with something to send keeps in a session. */
export interface ReadyMember {
  ready: boolean
  readonly slot: number
}

export interface LinkFacts {
  readonly kind: LinkKind
  /** A connection that this side dialed. */
  readonly dialed: boolean
  readonly datagramMax: number
  /** Bytes of a usual datagram, where its driver says that. */
  readonly datagramSize: number | undefined
  readonly segmentsMax: number
  /** A datagram arrives whole or not at all. */
  readonly dontFragment: boolean
  /** A datagram may have a TTL of its own. */
  readonly setsTtl: boolean
}

/** What a rekey inside a session needs of the node: statics, indexes, payloads and key slots (WIRE.md §3.11). */
export interface RekeyService {
  /** A fresh message A. `undefined` when there is no such session. */
  begin(now: Now, slot: number, peer: PeerHandle, sidSelf: Uint8Array, sidPeer: Uint8Array): RekeyInitiation | undefined
  /** Gives the index of an attempt back that did not succeed. */
  end(initiation: RekeyInitiation): void
  /** The keys of a rekey that we began, from now on named by its index. */
  finish(now: Now, slot: number, initiation: RekeyInitiation, result: RekeyResult, remoteIndex: number): Keys
  /** Answers the peer's A: keys that open, and message B. `undefined` when A is not what it must be. */
  answer(now: Now, slot: number, peer: PeerHandle, sidSelf: Uint8Array, sidPeer: Uint8Array, suite: number, message: Uint8Array, senderIndex: number): { readonly keys: Keys; readonly message: Uint8Array } | undefined
}

/** What a session asks of the endpoint it lives in. Calls go down, so this is the only way up, and nothing here re-enters the session. */
export interface ConnectionHost {
  readonly provider: CryptoProvider
  readonly arena: Arena
  readonly config: CoreConfig
  /** What is known of NATs on the way: over UDP no keep-alive waits longer. */
  readonly keepAliveMax: Duration
  readonly counters: Counters<CounterName>
  readonly deliveries: DeliveryQueue
  readonly rekeys: RekeyService
  readonly notices: NoticeSink
  /** Servers outside answer by TCP and not by UDP. */
  readonly udpBlocked: boolean
  /** Which address of this machine the datagram at hand came to; 0: there is none, or its driver does not know. */
  readonly heardAt: number
  /** Where this node may be reached; generation 0: nobody said. */
  readonly candidates: OwnCandidates
  /** How the NAT before this node gives out ports. */
  readonly mapping: MappingClass
  /** Begins to guess ports towards the peer at this address, if nobody else is guessed for; whether it does. */
  guess(now: Now, peer: PeerHandle, role: BirthdayRole, target: Uint8Array): boolean
  endGuessing(now: Now, peer: PeerHandle, found: boolean): void
  /** The peer says whether each destination sees another port of it. */
  noteHard(peer: PeerHandle, hard: boolean): void
  /** A message was dropped by its sender's side; `reason` is an index of `dropReasons`. */
  countDropped(reason: number): void
  /** Messages of all sessions by lane. */
  readonly tally: LaneTally

  /** `length` random bytes in a new array. */
  randomBytes(length: number): Uint8Array
  /** A random number in 0 ≤ x < 1, for jitter and for what must not be predicted. */
  randomUnit(): number

  link(link: LinkId): LinkFacts | undefined
  /** Links over which datagrams to this address may be sent, best first. */
  linksTo(address: Uint8Array): readonly LinkId[]
  linkBlocked(link: LinkId): boolean
  /** Whether one more probe may go to an address that has never been the peer's: the network there is asked by few. */
  mayProbe(now: Now, address: Uint8Array): boolean
  /** Asks for a connection to this address; its answer comes with the token that is returned. */
  dialLink(slot: number, peer: PeerHandle, transport: CarrierKind, address: Uint8Array): number
  cancelDial(token: number): void
  /** Asks for a socket on a port of its own; it comes with the token that is returned, or not at all. */
  openScout(slot: number): number
  /** The peer was authenticated on this connection. */
  confirmLink(link: LinkId): void
  /** The connection is of no use any more. */
  closeLink(link: LinkId): void
  /** Where else the peer may be, 18 bytes each. */
  addressesOf(peer: PeerHandle): readonly Uint8Array[]
  /** Its Bluetooth address, while it is in range. */
  nearbyOf(peer: PeerHandle): Uint8Array | undefined
  /** What was decided about the peer's paths, for who asks why. */
  noteDecision(peer: PeerHandle, decision: PathDecision): void
  /** Something is tried to reach the peer, to be noted there. */
  trying(peer: PeerHandle): Attempts | undefined
  /** What was tried, if anything, for what came of it. */
  tried(peer: PeerHandle): Attempts | undefined

  /** A fresh message A for this peer: index, stamp and invite are the endpoint's affair. `undefined` when it may not be dialed. */
  beginInitiation(now: Now, peer: PeerHandle): Initiation | undefined
  endInitiation(initiation: Initiation): void
  /** Queues a datagram that is not sealed under transport keys; dropped and counted when too many wait. */
  sendRaw(link: LinkId, address: Uint8Array, datagram: Uint8Array, local?: number, ttl?: number): void
  /** All paths are gone: dial the peer wherever it may be; `addresses` worked until now. */
  redial(now: Now, peer: PeerHandle, addresses: readonly Uint8Array[]): void
  /** The peer proved that it is at this address. */
  pathValidated(peer: PeerHandle, address: Uint8Array): void
  /** Nobody answered for as long as a dial tries loudly. */
  dialGaveUp(now: Now, peer: PeerHandle): void

  /** Begins XX over a connection that was dialed because the peer seems to be there. False when it cannot. */
  identifyLink(now: Now, link: LinkId, peer: PeerHandle): boolean
  /** Whether XX with this peer is under way. */
  identifying(peer: PeerHandle): boolean
  /** The presence key that this peer is to have: it is a friend, and this node has a radio. */
  presenceFor(peer: PeerHandle): PresenceKey | undefined
  /** The peer told its own. */
  learnPresence(peer: PeerHandle, key: PresenceKey): void
  /** Both people said yes. */
  paired(peer: PeerHandle): void

  /** Gives back the receiver index and the transport keys of a wiped keypair. */
  releaseKeys(now: Now, keys: Keys): void

  /** A handle for a channel of the session in this slot; `undefined` when there are too many. */
  allocateChannel(slot: number, create: (handle: ChannelHandle) => Channel): Channel | undefined
  releaseChannel(channel: Channel): void
  /** The channel's session is gone, and messages wait for its consumer. Bounded: the oldest such channel ends. */
  keepChannel(channel: Channel): void
  /** Room came back to the channel's queue. */
  noteReleased(channel: Channel): void
  /** Whether the arena is so full that this session, with what it holds, must wait (the largest first). */
  memoryShort(held: number): boolean
  /** The channel waits for the arena: it is told `writable` when there is room again. */
  waitForMemory(channel: Channel): void
  /** A datagram with new message bytes found no memory and was dropped unacknowledged. */
  noteNoRoom(now: Now): void
  /** The session has something to send. */
  markReady(state: ReadyMember): void

  emit(event: SessionEvent): void
  /** The session went up, lost its paths or came back: the peer's state is to be told. */
  sessionChanged(now: Now, peer: PeerHandle, reason: EndReason | undefined): void
  /** The session ended; the endpoint says so to its users and forgets it. */
  sessionEnded(now: Now, slot: number, reason: EndReason): void
  /** Nothing of the session is left: its slot is free. */
  sessionGone(slot: number): void
}
