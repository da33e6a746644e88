import type { Counters } from '../core/base/counters.ts'
import type { MessageRun } from '../core/base/message-run.ts'
import type { Duration, Instant } from '../core/base/time.ts'
import type { IpcBatchPool } from '../core/wire/ipc/ipc-outbox.ts'
import type { AuthThrottle } from './auth-throttle.ts'
import type { MessageTally } from './client-channels.ts'
import type { IpcCounterName } from './counters.ts'
import type { Greeter } from './greeter.ts'
import type { ClientEnd, IpcHandler } from './handler.ts'
import type { ResumeTokens } from './resume-tokens.ts'

/** What all sessions of one server share. `Session` is `IpcSession`, which imports this file. */
export interface SessionShared<Session> {
  readonly handler: IpcHandler
  readonly pool: IpcBatchPool
  readonly throttle: AuthThrottle
  readonly counters: Counters<IpcCounterName>
  readonly tally: MessageTally
  readonly tokens: ResumeTokens<Session>
  /** How long a client that lost its connection may take to come back. */
  readonly linger: Duration
  /** Filled again and again, by all clients in turn. */
  readonly run: MessageRun
  /** Largest message, bytes. */
  readonly messageMax: number
}

/** What a session asks of its connection. */
export interface SessionLink<Session> {
  /** Call `settle` and write, soon. */
  wake(): void
  /** This connection belongs to another session from now on, whose own connection, if it still has one, is over. */
  handOver(to: Session): void
}

/**
 *     greeting ── hello ──▶ open ── close() ──▶ closing ── bye read, or 1 s ──▶ gone
 *        │                  │ ▲                    ▲
 *        │                  ▼ │ hello of another connection, with its token
 *        │                  lingering ── 10 s ──▶ gone
 *        └── refused, or too late ─────────────────┘        (a socket that ends leads to gone from everywhere but open)
 */
export type SessionState =
  | { readonly kind: 'greeting'; readonly greeter: Greeter }
  | { readonly kind: 'open' }
  /** Without a connection, its channels kept. */
  | { readonly kind: 'lingering'; readonly deadline: Instant; readonly end: ClientEnd }
  /** The deadline is set by the next `settle`: `close` is called without the time. */
  | { readonly kind: 'closing'; readonly deadline: Instant }
  | { readonly kind: 'gone' }
