import type { LinkId } from '../../core/base/domain.ts'
import type { Instant, Now } from '../../core/base/time.ts'
import { ProbeSocket } from '../../net/probe-socket.ts'
import type { Clock } from '../../platform/clock.ts'

export const PROBE_LINKS: readonly [LinkId, LinkId] = [1 as LinkId, 2 as LinkId]
/** Timers count at most some weeks of milliseconds; nothing here waits so long. */
const WAIT_MAX_MS = 60_000

/** A check of the core that is run over two sockets of its own. */
export interface Probe {
  readonly done: boolean
  start(now: Now): void
  handleDatagram(now: Now, link: LinkId, from: Uint8Array, bytes: Uint8Array): void
  handleRefused(now: Now, link: LinkId, address: Uint8Array): void
  handleTimeout(now: Now): void
  nextTimeout(): Instant
}

export interface ProbeRun {
  readonly clock: Clock
  /** Where the sockets are bound. */
  readonly host: string
  readonly signal: AbortSignal
}

/** Runs what `make` gives to its end. Rejects with the system's error where no socket can be opened, or when it is called off. */
export async function runProbe<P extends Probe>({ clock, host, signal }: ProbeRun, make: (send: (link: LinkId, to: Uint8Array, bytes: Uint8Array) => void, port: number) => P): Promise<P> {
  const sockets: ProbeSocket[] = []
  let probe: P | undefined
  let advanced: () => void = () => undefined
  const open = (link: LinkId): Promise<ProbeSocket> => ProbeSocket.open(host, {
    received: (from, bytes) => {
      probe?.handleDatagram(clock.now(), link, from, bytes)
      advanced()
    },
    refused: (to) => {
      probe?.handleRefused(clock.now(), link, to)
      advanced()
    },
  })
  try {
    for (const link of PROBE_LINKS) sockets.push(await open(link))
    const [first, second] = sockets as [ProbeSocket, ProbeSocket]
    const running = make((link, to, bytes) => { (link === PROBE_LINKS[0] ? first : second).send(to, bytes) }, first.port)
    probe = running
    running.start(clock.now())
    while (!running.done) {
      signal.throwIfAborted()
      // Whatever comes first: a datagram, the next deadline, or the end.
      await new Promise<void>((resolve) => {
        const wait = Math.max(0, (running.nextTimeout() - clock.now().mono) / 1000)
        const timer = setTimeout(resolve, Math.min(wait, WAIT_MAX_MS))
        advanced = () => {
          clearTimeout(timer)
          resolve()
        }
        signal.addEventListener('abort', advanced, { once: true })
      })
      signal.removeEventListener('abort', advanced)
      running.handleTimeout(clock.now())
    }
    return running
  } finally {
    for (const socket of sockets) socket[Symbol.dispose]()
  }
}
