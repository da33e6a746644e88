import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'postern/client'
import { percentilesOf } from './figures.ts'
import type { PathRtts } from './messages.ts'

/** How often the daemon is asked which path it uses. */
const LOOK_MS = 20

/** The kind of path in use to the one peer of a daemon: `udp`, `tcp`, `ble`; `undefined` without a session. */
export async function pathKind(client: Client): Promise<string | undefined> {
  const [peer] = await client.peers({ state: 'connected' })
  return peer?.path?.split(' ')[0]
}

/** Sorts round trips by the kind of path that the daemon used meanwhile. Times are those of `performance.now()`. */
export class PathWatch {
  readonly #samples = new Map<string, { readonly messages: number[]; readonly updates: number[] }>()
  #kind: string | undefined
  /** Since when it has been this kind, as far as was seen. */
  #since = 0

  /** Until the signal. */
  async watch(client: Client, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const kind = await pathKind(client).catch(() => undefined)
      if (kind !== this.#kind) {
        this.#kind = kind
        this.#since = performance.now()
      }
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined)
    }
  }

  /** A round trip that has just ended. */
  note(what: 'messages' | 'updates', rttMs: number): void {
    const kind = this.#kind
    if (kind === undefined || performance.now() - rttMs < this.#since) return
    const samples = this.#samples.get(kind) ?? { messages: [], updates: [] }
    this.#samples.set(kind, samples)
    samples[what].push(rttMs)
  }

  get byPath(): Record<string, PathRtts> {
    return Object.fromEntries([...this.#samples].map(([kind, { messages, updates }]) => [kind, { messages: percentilesOf(messages), updates: percentilesOf(updates) }]))
  }
}
