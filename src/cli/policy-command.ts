import type { IpcPathPolicy } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { parsePathKind } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { policyText } from './policy-text.ts'
import { knownPeer, withClient } from './session.ts'
import { safeLine } from './text.ts'

export interface PolicyOptions {
  readonly prefer?: string
  readonly only?: string
  readonly never?: readonly string[]
  readonly default?: boolean
}

/** Shows the policy for a peer, or sets it: what the options name is all of it. */
export async function policy(globals: Globals, who: string, options: PolicyOptions, output: Output): Promise<void> {
  const wish = wishOf(options)
  const { id, name, result } = await withClient(globals, async (client) => {
    const peer = await knownPeer(client, who)
    const found = wish === undefined ? await client.peerPolicy(peer.id) : await client.setPeerPolicy(peer.id, wish)
    return { id: peer.id, name: peer.name, result: found }
  })
  output.result('peers-policy', { peer: id, ...result }, () => policyText(safeLine(name ?? id), { ...result.policy, from: result.from }))
}

function wishOf({ prefer, only, never, default: configured }: PolicyOptions): IpcPathPolicy | 'default' | undefined {
  const written = prefer !== undefined || only !== undefined || never !== undefined
  if (configured === true) {
    if (written) throw new PosternError('params', '--default stands alone: it takes the policy for this peer back.', { hint: 'Leave it out, or the other options.' })
    return 'default'
  }
  if (!written) return undefined
  return {
    ...(prefer === undefined ? {} : { prefer: parsePathKind(prefer, '--prefer') }), ...(only === undefined ? {} : { only: parsePathKind(only, '--only') }),
    never: (never ?? []).map((kind) => parsePathKind(kind, '--never')),
  }
}
