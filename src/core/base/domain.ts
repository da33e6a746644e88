/** The words that every floor shares (DESIGN §2). */

declare const brand: unique symbol
type Branded<Name extends string> = number & { readonly [brand]: Name }

/** A driver's number for one socket or connection, unique among open links. */
export type LinkId = Branded<'link'>
/** The core's number for (link, remote address) inside one session. */
export type PathId = Branded<'path'>
/** A peer this node knows or talks to. Never reused while the endpoint lives. */
export type PeerHandle = Branded<'peer'>
/** One channel. The low {@link CHANNEL_SLOT_BITS} bits are a dense slot for the router's tables, the rest a generation. */
export type ChannelHandle = Branded<'channel'>

export const CHANNEL_SLOT_BITS = 20
export function channelSlot(channel: ChannelHandle): number {
  return channel & ((1 << CHANNEL_SLOT_BITS) - 1)
}

export const linkKinds = ['udp', 'tcp', 'ble', 'relay', 'turn'] as const
export type LinkKind = (typeof linkKinds)[number]
/** Links that deliver whole and in order what they take, while they live; each is one connection with one remote address. */
export function isReliable(kind: LinkKind | undefined): boolean {
  return kind === 'tcp' || kind === 'ble'
}
export type LinkState = 'opened' | 'blocked' | 'writable' | 'failed' | 'closed'

/** Added to a message's length in every credit and flow-control account, so that floods of empty messages are bounded too. */
export const MESSAGE_COST = 32

export const deliveryModes = ['reliable-ordered', 'reliable-unordered', 'unreliable', 'latest'] as const
/** Index in {@link deliveryModes} is the mode's number on the wire. */
export type DeliveryMode = (typeof deliveryModes)[number]
export const lanes = ['critical', 'high', 'normal', 'low'] as const
/** Index in {@link lanes} is the lane's number on the wire. */
export type Lane = (typeof lanes)[number]
export type Overflow = 'block' | 'drop-oldest' | 'drop-newest' | 'drop-lowest-lane'

/** `dropped`: taken, and dropped at once by the channel's policy or because it was late; counted, and told to who asked. */
export type SendResult = 'queued' | 'dropped' | 'blocked' | 'closed' | 'too-large'

export type PeerState = 'connected' | 'dialing' | 'unreachable' | 'offline'

/** Why a session or a dial ended. Stable words: they reach `event.peer`, `why` and the log. */
export type EndReason =
  | 'done' | 'shutting_down' | 'idle' | 'protocol' | 'frame_encoding' | 'flow_control' | 'limit' | 'not_admitted' | 'revoked'
  | 'downgrade' | 'replaced' | 'key_limit' | 'policy' | 'internal' | 'busy'
  | 'peer_restarted' | 'timeout' | 'refused' | 'no_address' | 'suite' | 'removed'

/**
 * Why traffic moved to a path, or left one. Stable words: they reach the log and `peer.why`.
 * first: the handshake came this way · only: no other worked · migrated: the peer uses it and the old one is silent · preferred: a
 * better one of its kind · tier: a better kind · policy: the user's wish · black_hole: the old one answered nothing · refused: the
 * system would not send on the old one · closed: the old one's connection ended
 */
export const pathRules = ['first', 'only', 'migrated', 'preferred', 'tier', 'policy', 'black_hole', 'refused', 'closed'] as const
export type PathRule = (typeof pathRules)[number]

/** Why a message was not delivered. Index is the number in a NOTICE (WIRE.md §8.3); `none`: it was lost on its way, or came in part only. */
export const dropReasons = ['none', 'deadline', 'drop-oldest', 'drop-newest', 'lane', 'superseded', 'peer-gone', 'channel-closed', 'too-large-for-path', 'no-credit'] as const
export type DropReason = (typeof dropReasons)[number]
/** Name → number. */
export const dropReason: Readonly<Record<DropReason, number>> = Object.fromEntries(dropReasons.map((name, i) => [name, i])) as Record<DropReason, number>
