import { formatAddress, portOf } from '../../core/base/address.ts'
import type { LinkId } from '../../core/base/domain.ts'
import { millisecond, type Now } from '../../core/base/time.ts'
import type { CryptoProvider } from '../../core/crypto/provider.ts'
import type { StunServer } from '../../core/stun/reflexive.ts'
import { STUN_SCHEDULE_STREAM } from '../../core/stun/schedule.ts'
import { StunTransactions } from '../../core/stun/transactions.ts'
import type { NetcheckTcp } from '../../core/wire/ipc/ipc-nat.ts'
import { StunStreams } from '../../net/stun-streams.ts'
import { tcpSystem } from '../../net/tcp-system.ts'

const LINK = 1 as LinkId

export interface TcpCheckOptions {
  readonly provider: CryptoProvider
  readonly clock: { now(): Now }
  readonly servers: readonly StunServer[]
  /** Dials of the daemon leave from the port that it listens on. */
  readonly punching: boolean
  readonly signal: AbortSignal
}

/** Asks all servers by TCP, from a fresh port for each, and is done when one has said where it sees us, or none will. */
export async function tcpCheck({ provider, clock, servers, punching, signal }: TcpCheckOptions): Promise<NetcheckTcp> {
  if (servers.length === 0) return { state: 'no_server', punching }
  let advanced: () => void = () => undefined
  const streams = new StunStreams({
    received: (server, message) => {
      table.handleDatagram(LINK, server, message, 0, message.length, clock.now())
      advanced()
    },
    lost: (server) => {
      table.handleRefused(LINK, server, 'silent')
      advanced()
    },
  }, { system: tcpSystem, localPort: undefined })
  const table = new StunTransactions<StunServer>({ provider, unit: Math.random, send: (_link, to, message) => streams.send(to, message), count: () => undefined })
  try {
    for (const server of servers) table.ask(clock.now(), { link: LINK, to: server.address, schedule: STUN_SCHEDULE_STREAM, tag: server })
    for (;;) {
      signal.throwIfAborted()
      for (let outcome = table.pollOutcome(); outcome !== undefined; outcome = table.pollOutcome()) {
        if (outcome.kind !== 'answered') continue
        const { mapped, tag } = outcome
        return {
          state: 'works', punching, mapped: formatAddress(mapped), server: tag.name, portKept: portOf(mapped) === streams.localPort(tag.address),
          ...(outcome.rtt === undefined ? {} : { connectMs: outcome.rtt / millisecond }),
        }
      }
      if (table.size === 0) return { state: 'silent', punching }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(0, (table.nextTimeout() - clock.now().mono) / millisecond))
        advanced = () => {
          clearTimeout(timer)
          resolve()
        }
        signal.addEventListener('abort', advanced, { once: true })
      })
      signal.removeEventListener('abort', advanced)
      table.handleTimeout(clock.now())
    }
  } finally {
    streams.close()
  }
}
