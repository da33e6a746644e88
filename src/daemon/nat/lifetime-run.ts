import { isIPv4 } from '../../core/base/address.ts'
import { second } from '../../core/base/time.ts'
import type { CryptoProvider } from '../../core/crypto/provider.ts'
import { MappingLifetime } from '../../core/stun/lifetime.ts'
import type { StunServer } from '../../core/stun/reflexive.ts'
import type { StunCounter } from '../../core/stun/transactions.ts'
import type { IpcLifetime } from '../../core/wire/ipc/ipc-nat.ts'
import { boundHost } from './netcheck.ts'
import { PROBE_LINKS, runProbe, type ProbeRun } from './probe-run.ts'

export interface LifetimeRun extends Omit<ProbeRun, 'host'> {
  readonly provider: CryptoProvider
  readonly servers: readonly StunServer[]
  /** Where the daemon's sockets are bound. */
  readonly bind: readonly string[]
  readonly count: (counter: StunCounter) => void
  /** What is known so far, whenever that is more than before. */
  readonly progress: (lifetime: IpcLifetime) => void
}

/** How long the NAT on the way keeps a mapping of UDP over IPv4: some minutes, by two sockets that mostly wait. */
export async function measureLifetime(options: LifetimeRun): Promise<IpcLifetime> {
  const { provider, count, bind, progress, signal } = options
  const servers = options.servers.filter(({ address }) => isIPv4(address))
  const host = boundHost(4, bind)
  if (servers.length === 0 || host === undefined) return { state: 'silent', aliveS: 0 }
  let told = ''
  const tell = (running: MappingLifetime): void => {
    const lifetime = lifetimeOf(running)
    const text = JSON.stringify(lifetime)
    if (text !== told) progress(lifetime)
    told = text
  }
  try {
    return lifetimeOf(await runProbe({ ...options, host }, (send) => {
      const running = new MappingLifetime({ provider, servers, count, links: PROBE_LINKS, unit: Math.random, send: (link, to, bytes) => {
        tell(running)
        send(link, to, bytes)
      } })
      return running
    }))
  } catch (error) {
    signal.throwIfAborted()
    // The system gives no socket.
    if (error instanceof Error && 'code' in error) return { state: 'silent', aliveS: 0 }
    throw error
  }
}

function lifetimeOf({ result: { outcome, alive, dead } }: MappingLifetime): IpcLifetime {
  return { state: outcome, aliveS: alive / second, ...(dead === undefined ? {} : { goneS: dead / second }) }
}
