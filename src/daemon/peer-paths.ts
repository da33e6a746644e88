import { PosternError } from '../core/base/errors.ts'
import type { PathPolicy, PeerHandle } from '../core/endpoint/contract.ts'
import { faultOf } from '../core/path/path-policy.ts'
import { ipcPathKinds, type IpcPathPolicy, type PeerPolicyRequest, type PeerPolicyResult } from '../core/wire/ipc/ipc-policy.ts'
import type { PeerWhyResult } from '../core/wire/ipc/ipc-why.ts'
import type { NodeRuntime } from './node-runtime.ts'
import { policyResult } from './peer-policy.ts'
import { idBytes } from './router.ts'
import { whyDocument, type LinkRadio, type Outside } from './why/why.ts'

/** What is known of the routers before this node, and how more comes to be known. */
export interface WayOut {
  outside(): Outside
  /** Asks in the background, once for each network. */
  lookOnce(): void
}

/** Which ways to a peer may be taken, and why the traffic takes which. */
export class PeerPaths {
  readonly #runtime: NodeRuntime
  readonly #durable: () => Promise<void>
  readonly #nat: WayOut
  readonly #radio: LinkRadio

  constructor(runtime: NodeRuntime, durable: () => Promise<void>, nat: WayOut, radio: LinkRadio) {
    this.#runtime = runtime
    this.#durable = durable
    this.#nat = nat
    this.#radio = radio
  }

  /** Shows the policy for a peer, or changes it: on disk before it is answered, in force before that. */
  async policy({ id, change }: PeerPolicyRequest): Promise<PeerPolicyResult> {
    if (change !== undefined) {
      const wish = change === 'default' ? undefined : checked(change)
      const set = this.#runtime.endpoint.setPeerPolicy(this.#runtime.now(), idBytes(id), wish)
      if (set === 'unknown') throw notInRoster(id)
      if (set === 'nothing-left') throw nothingLeft(wish)
      await this.#durable()
    }
    const { endpoint } = this.#runtime
    const peer = endpoint.findPeer(idBytes(id))
    const why = peer === undefined ? undefined : endpoint.peerWhy(this.#runtime.now(), peer)
    if (why === undefined) throw unknownPeer(id)
    return policyResult(why.policy, why.policyFrom)
  }

  /** Where the traffic with a peer goes, why, and what else was tried. */
  why(id: string): PeerWhyResult {
    const { endpoint } = this.#runtime
    const now = this.#runtime.now()
    const peer = endpoint.findPeer(idBytes(id))
    const why = peer === undefined ? undefined : endpoint.peerWhy(now, peer)
    if (why === undefined) throw unknownPeer(id)
    const document = whyDocument(why, this.#nat.outside(), now.wall, this.#radio)
    if (document.path?.kind !== 'udp') this.#nat.lookOnce()
    return document
  }

  /** Whether the last path to this peer was given up because the policy forbids it. */
  leftByPolicy(peer: PeerHandle): boolean {
    const decisions = this.#runtime.endpoint.peerWhy(this.#runtime.now(), peer)?.decisions ?? []
    const last = decisions.findLast(({ kind }) => kind === 'path')
    return last?.kind === 'path' && last.to === undefined && last.rule === 'policy'
  }
}

function checked({ prefer, only, never }: IpcPathPolicy): PathPolicy {
  const wish: PathPolicy = { prefer, only, never: ipcPathKinds.filter((kind) => never.includes(kind)) }
  const fault = faultOf(wish)
  if (fault === undefined) return wish
  throw new PosternError('params', `"${fault.member}" ${fault.message}.`, { hint: 'Say the whole policy at once: what is not named is not part of it.', details: { member: fault.member } })
}

export function unknownPeer(id: string): PosternError {
  return new PosternError('unknown_peer', `There is no peer ${id}.`, { hint: 'List them: postern peers' })
}

function notInRoster(id: string): PosternError {
  return new PosternError('unknown_peer', `${id} is not in the roster.`, { hint: `Put it there first: postern peers add ${id}` })
}

export function policyError(id: string): PosternError {
  return new PosternError('policy', `The policy for ${id} forbids every way to it that is known.`, {
    hint: `Take it back: postern peers policy ${id.slice(0, 8)} --default. What was tried: postern why ${id.slice(0, 8)}`,
  })
}

/** The policy names only kinds that this node does not have. */
function nothingLeft(wish: PathPolicy | undefined): PosternError {
  const tcp = wish === undefined || (wish.only === undefined && !wish.never.includes('tcp')) || wish.only === 'tcp'
  const [why, hint] = tcp
    ? ['TCP is switched off in the configuration ([tcp] enabled), and the policy forbids UDP.', 'Set [tcp] enabled = true and restart the daemon, or allow UDP.']
    : ['there is no Bluetooth here, and the policy forbids the rest.', 'postern ble status says why there is none; or allow UDP.']
  return new PosternError('policy', `This would leave no way to the peer: ${why}`, { hint, details: { member: 'policy' } })
}
