import type { PathPolicy } from '../core/endpoint/contract.ts'
import { ipcPathKinds, type IpcPathPolicy, type PeerPolicyResult } from '../core/wire/ipc/ipc-policy.ts'

/** Kinds that only a later version knows are left out of what is shown: nobody could ask for them here. */
export function policyResult(policy: PathPolicy, from: 'peer' | 'config'): PeerPolicyResult {
  const known = (kind: string | undefined): kind is (typeof ipcPathKinds)[number] => ipcPathKinds.some((name) => name === kind)
  const shown: IpcPathPolicy = {
    ...(known(policy.prefer) ? { prefer: policy.prefer } : {}), ...(known(policy.only) ? { only: policy.only } : {}), never: policy.never.filter(known),
  }
  const anything = policy.prefer === undefined && policy.only === undefined && policy.never.length === 0
  return { policy: shown, from: from === 'config' && anything ? 'default' : from }
}
