import type { Counters } from '../core/base/counters.ts'
import type { PosternError } from '../core/base/errors.ts'
import { after, type Instant } from '../core/base/time.ts'
import type { IpcRequestFrame, JsonRpcId } from '../core/wire/ipc/ipc-json.ts'
import type { HelloRequest } from '../core/wire/ipc/ipc-methods.ts'
import type { AuthThrottle } from './auth-throttle.ts'
import type { IpcCounterName } from './counters.ts'
import { readGreeting, wrongKey } from './greeting.ts'
import type { Grant, IpcHandler } from './handler.ts'
import { AUTH_FAILURES_MAX, HELLO_TIMEOUT } from './limits.ts'

/** What a frame, or the time, makes of a client that has not been let in yet. */
export type GreeterStep =
  | { readonly kind: 'granted'; readonly id: JsonRpcId; readonly hello: HelloRequest; readonly grant: Grant }
  /** Answered; with `final` the connection closes. */
  | { readonly kind: 'refused'; readonly id: JsonRpcId | null; readonly error: PosternError; readonly final: boolean }
  /** Hello did not come in time. */
  | { readonly kind: 'late' }

export interface GreeterOptions {
  readonly handler: Pick<IpcHandler, 'authenticate'>
  readonly throttle: AuthThrottle
  readonly counters: Counters<IpcCounterName>
}

/**
 *     waiting ── hello with a wrong key ──▶ throttled ── its answer ──▶ waiting        the third failure is final
 *
 * A connection until its hello is good: the time for it, who may come in, and how long a wrong key has to wait for its answer.
 */
export class Greeter {
  readonly #options: GreeterOptions
  #deadline: Instant
  /** The request whose answer waits. */
  #throttled: { readonly id: JsonRpcId } | undefined
  #failures = 0

  constructor(now: Instant, options: GreeterOptions) {
    this.#options = options
    this.#deadline = after(now, HELLO_TIMEOUT)
  }

  get deadline(): Instant {
    return this.#deadline
  }

  /** Whether the next frame is wanted: not while a wrong key waits for its answer. */
  get reading(): boolean {
    return this.#throttled === undefined
  }

  /** @param frame `undefined` for one that is not JSON-RPC at all. `undefined` comes back where there is nothing to say yet. */
  receive(now: Instant, frame: IpcRequestFrame | undefined): GreeterStep | undefined {
    const { handler, throttle, counters } = this.#options
    const step = readGreeting(frame)
    if (step.kind === 'refused') {
      counters.add('ipc_end_hello_first')
      return { ...step, final: true }
    }
    const grant = handler.authenticate(step.hello.key)
    if (grant !== undefined) return { kind: 'granted', id: step.id, hello: step.hello, grant }
    counters.add('ipc_auth_failures')
    this.#throttled = { id: step.id }
    this.#deadline = after(now, throttle.fail(now))
    return undefined
  }

  handleTimeout(now: Instant): GreeterStep | undefined {
    if (this.#deadline > now) return undefined
    const { counters } = this.#options
    const waiting = this.#throttled
    if (waiting === undefined) {
      counters.add('ipc_end_hello_timeout')
      return { kind: 'late' }
    }
    this.#throttled = undefined
    this.#deadline = after(now, HELLO_TIMEOUT)
    this.#failures++
    const final = this.#failures >= AUTH_FAILURES_MAX
    if (final) counters.add('ipc_end_auth')
    return { kind: 'refused', id: waiting.id, error: wrongKey(), final }
  }
}
