import type { ChannelHandle, DeliveryMode, Lane, LinkKind, PathRule, PeerHandle } from '../base/domain.ts'
import type { Duration } from '../base/time.ts'
import type { MtuCause } from '../path/path-log.ts'

/** What a session tells: part of the endpoint's events (contract.ts). */
export type SessionEvent =
  | { readonly kind: 'path'; readonly peer: PeerHandle; readonly from: Uint8Array | undefined; readonly to: Uint8Array | undefined; readonly link: LinkKind; readonly rtt: Duration | undefined; readonly rule: PathRule }
  /** The largest datagram that is sent on a path is another one now, bytes of UDP payload. */
  | { readonly kind: 'path-mtu'; readonly peer: PeerHandle; readonly address: Uint8Array; readonly from: number; readonly to: number; readonly cause: MtuCause }
  /** More PUNCH frames of a peer than any round has: they are ignored, and this is said once in ten seconds. */
  | { readonly kind: 'punch-flood'; readonly peer: PeerHandle }
  | { readonly kind: 'observed-address'; readonly peer: PeerHandle; readonly address: Uint8Array }
  | { readonly kind: 'channel-incoming'; readonly channel: ChannelHandle; readonly peer: PeerHandle; readonly app: string; readonly mode: DeliveryMode; readonly lane: Lane; readonly weight: number; readonly meta: Uint8Array }
  | { readonly kind: 'channel-open'; readonly channel: ChannelHandle; readonly maxMessage: number }
  | { readonly kind: 'channel-closed'; readonly channel: ChannelHandle; readonly code: number; readonly reason: string; readonly by: 'peer' | 'local' | 'session' }
  | { readonly kind: 'writable'; readonly channel: ChannelHandle }
  /** Two people compare: eight digits, the same on both sides if nobody stands between. `acceptPairing` or `rejectPairing` answers. */
  | { readonly kind: 'pairing'; readonly peer: PeerHandle; readonly code: string }
  | { readonly kind: 'pong'; readonly token: number; readonly peer: PeerHandle; readonly rtt: Duration | undefined }
