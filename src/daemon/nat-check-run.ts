import type { LinkId } from '../core/base/domain.ts'
import { encodeAddress } from '../core/base/address.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import { NatCheck, type NatCheckResult } from '../core/stun/nat-check.ts'
import type { StunServer } from '../core/stun/reflexive.ts'
import type { StunCounter } from '../core/stun/transactions.ts'
import { ProbeSocket } from '../net/probe-socket.ts'
import type { Clock } from '../platform/clock.ts'

const LINKS: readonly [LinkId, LinkId] = [1 as LinkId, 2 as LinkId]

export interface NatCheckRun {
  readonly provider: CryptoProvider
  readonly clock: Clock
  readonly servers: readonly StunServer[]
  /** Where the sockets are bound. */
  readonly host: string
  /** Addresses of this machine that the sockets may be seen at. */
  readonly hosts: readonly string[]
  readonly count: (counter: StunCounter) => void
  readonly signal: AbortSignal
}

/** The core's check over two real sockets. Rejects with the system's error where they cannot be opened, or when it is called off. */
export async function runNatCheck({ provider, clock, servers, host, hosts, count, signal }: NatCheckRun): Promise<NatCheckResult> {
  const sockets: ProbeSocket[] = []
  let check: NatCheck | undefined
  let advanced: () => void = () => undefined
  const open = (link: LinkId): Promise<ProbeSocket> => ProbeSocket.open(host, {
    received: (from, bytes) => {
      check?.handleDatagram(clock.now(), link, from, bytes)
      advanced()
    },
    refused: (to) => {
      check?.handleRefused(clock.now(), link, to)
      advanced()
    },
  })
  try {
    for (const link of LINKS) sockets.push(await open(link))
    const [first, second] = sockets as [ProbeSocket, ProbeSocket]
    const running = new NatCheck({
      provider, servers, count, links: LINKS, unit: Math.random, send: (link, to, bytes) => (link === LINKS[0] ? first : second).send(to, bytes),
      locals: hosts.flatMap((local) => encodeAddress(local, first.port) ?? []),
    })
    check = running
    running.start(clock.now())
    while (!running.done) {
      signal.throwIfAborted()
      // Whatever comes first: a datagram, the next deadline, or the end.
      await new Promise<void>((resolve) => {
        const wait = Math.max(0, (running.nextTimeout() - clock.now().mono) / 1000)
        const timer = setTimeout(resolve, Math.min(wait, 60_000))
        advanced = () => {
          clearTimeout(timer)
          resolve()
        }
        signal.addEventListener('abort', advanced, { once: true })
      })
      signal.removeEventListener('abort', advanced)
      running.handleTimeout(clock.now())
    }
    return running.result
  } finally {
    for (const socket of sockets) socket[Symbol.dispose]()
  }
}
