import { formatAddress } from '../../core/base/address.ts'
import type { PathDecision, PathPolicy, PathRule, PathView } from '../../core/endpoint/contract.ts'

const because: Readonly<Record<PathRule, string>> = {
  first: 'the handshake came this way',
  only: 'no other path works',
  migrated: 'the peer uses it, and the other one did not answer',
  preferred: 'it is the better one of its kind',
  tier: 'it is a better kind of path',
  policy: 'the policy asks for it',
  black_hole: 'nothing was acknowledged on the other one',
  refused: 'the system would not send on the other one',
  closed: 'the connection before it ended',
}

/** Why the traffic is on a path, as the end of a sentence. */
export function becauseOf(rule: PathRule): string {
  return because[rule]
}

/** Why it left one for nowhere. */
const lost: Partial<Readonly<Record<PathRule, string>>> = {
  black_hole: 'nothing was acknowledged, and no other path worked', closed: 'the connection ended', policy: 'the policy forbids it, and nothing else worked',
}

const dialCauses = { unanswered: 'UDP did not answer', doubt: 'nothing was acknowledged', refused: 'the system does not send by UDP', policy: 'the policy asks for it', better: 'the way in use is of a worse kind' } as const
const closeCauses = { unused: 'another path has been good for long', extra: 'one connection is enough', silent: 'it did not answer', policy: 'the policy forbids it' } as const
const mtuCauses = { found: 'a datagram of that size arrived', black_hole: 'large datagrams vanished', too_large: 'the system refused the size' } as const

/** One decision in a sentence without its time. */
export function decisionText(decision: PathDecision): string {
  switch (decision.kind) {
    case 'path': {
      const { from, to, rule } = decision
      if (to === undefined) return `${nameOf(from)} was given up: ${lost[rule] ?? because[rule]}`
      return from === undefined ? `to ${nameOf(to)}: ${because[rule]}` : `from ${nameOf(from)} to ${nameOf(to)}: ${because[rule]}`
    }
    case 'dial':
      return `a connection with ${formatAddress(decision.address)} was dialed: ${dialCauses[decision.cause]}`
    case 'quarantine':
      return `${placeText(decision)} rests until ${new Date(decision.until).toISOString()}: it answers probes, but what was sent there was lost`
    case 'mtu':
      return `${placeText(decision)} carries datagrams of ${decision.to} bytes, ${decision.from} before: ${mtuCauses[decision.cause]}`
    case 'close':
      return `${placeText(decision)} was closed: ${closeCauses[decision.cause]}`
    case 'doubt':
      return `nothing was acknowledged on ${placeText(decision)}: all paths were asked`
    case 'silent':
      return `${placeText(decision)} did not answer`
    case 'refused':
      return `the system does not send to ${placeText(decision)}`
    case 'policy':
      return `the policy is now: ${policyWords(decision.policy)}`
    case 'end':
      return `the peer became ${decision.state}: ${decision.reason}`
  }
}

function nameOf(view: PathView | undefined): string {
  return view === undefined ? 'nowhere' : `${view.kind.toUpperCase()} ${formatAddress(view.address)}`
}

function placeText({ transport, address }: { readonly transport: string; readonly address: Uint8Array }): string {
  return `${transport.toUpperCase()} ${formatAddress(address)}`
}

function policyWords(policy: PathPolicy | undefined): string {
  if (policy === undefined) return 'as the configuration says'
  const { prefer, only, never } = policy
  const words = [...(only === undefined ? [] : [`only ${only}`]), ...(never.length === 0 ? [] : [`never ${never.join(', ')}`]), ...(prefer === undefined ? [] : [`${prefer} first`])]
  return words.length === 0 ? 'any kind of path' : words.join(', ')
}
