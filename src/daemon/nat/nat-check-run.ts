import { encodeAddress } from '../../core/base/address.ts'
import type { CryptoProvider } from '../../core/crypto/provider.ts'
import { NatCheck, type NatCheckResult } from '../../core/stun/nat-check.ts'
import type { StunServer } from '../../core/stun/reflexive.ts'
import type { StunCounter } from '../../core/stun/transactions.ts'
import { PROBE_LINKS, runProbe, type ProbeRun } from './probe-run.ts'

export interface NatCheckRun extends ProbeRun {
  readonly provider: CryptoProvider
  readonly servers: readonly StunServer[]
  /** Addresses of this machine that the sockets may be seen at. */
  readonly hosts: readonly string[]
  readonly count: (counter: StunCounter) => void
}

/** The core's check over two real sockets. */
export async function runNatCheck(options: NatCheckRun): Promise<NatCheckResult> {
  const { provider, servers, hosts, count } = options
  const check = await runProbe(options, (send, port) => new NatCheck({
    provider, servers, count, links: PROBE_LINKS, unit: Math.random, send, locals: hosts.flatMap((local) => encodeAddress(local, port) ?? []),
  }))
  return check.result
}
