import { second, type Duration } from '../core/base/time.ts'

/** WIRE.md §8.3: clients of one daemon. */
export const CLIENTS_MAX = 256
/** WIRE.md §8.3: of these, of one user that was let in beside the daemon's own. The own user may fill the daemon, which is his. */
export const CLIENTS_PER_USER_MAX = 32
/** WIRE.md §8.1. */
export const HELLO_TIMEOUT: Duration = 5 * second
/** WIRE.md §8.3: unsent frames of one client, bytes and events; beyond it the client is a slow reader. */
export const UNSENT_MAX = 4_194_304
export const EVENTS_MAX = 1024
/** Events of subscriptions among them: beyond it they wait as state, where only the newest counts. */
export const FEED_EVENTS_MAX = 128
/** WIRE.md §8.3: above it messages stay in their channels. */
export const CONGESTED_ABOVE = 1_048_576
/** Room is announced well below, so that a client is not stopped and started for every batch. */
export const WRITABLE_BELOW = 524_288
/** WIRE.md §8.3: a client that took nothing of a 64 KiB piece for so long is a slow reader. */
export const PROGRESS_TIMEOUT: Duration = 15 * second
/** A channel that ended is kept until whoever did not read so was thrown out, for a client that loses its connection meanwhile. */
export const CLOSED_KEPT: Duration = PROGRESS_TIMEOUT
/** Such channels of one client, and the cost of their messages: beyond it the oldest is forgotten. */
export const CLOSED_KEPT_COUNT = 256
export const CLOSED_KEPT_BYTES = 4_194_304
/** WIRE.md §8.4: how long the channels of a client that lost its connection wait for it. */
export const LINGER_DEFAULT: Duration = 10 * second
/** Clients that lost their connection and may come back; one more takes the place of the one that was lost first. */
export const LINGERING_MAX = 256
/** From `event.bye` until the socket is torn down: time for the client to read it. */
export const CLOSE_LINGER: Duration = second
/** Peers that get a number in one connection; bounds the table. */
export const HANDLES_MAX = 65_535
/** Connections beyond {@link CLIENTS_MAX} that are being told so; more are dropped without a word. */
export const REFUSED_MAX = 64
/** WIRE.md §8.1: failed authentications on one connection. */
export const AUTH_FAILURES_MAX = 3
export const AUTH_DELAY_MIN: Duration = second / 4
export const AUTH_DELAY_MAX: Duration = 8 * second
/** A failure older than this no longer slows the next one. */
export const AUTH_FORGET: Duration = 60 * second
/** Messages of one channel that are handed over together: most of what one read of a socket brings. */
export const RUN_MAX = 1024
