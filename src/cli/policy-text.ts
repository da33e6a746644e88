import type { IpcPathPolicy, PeerPolicyResult } from '../client/client.ts'

const origin: Readonly<Record<PeerPolicyResult['from'], string>> = {
  peer: 'set for this peer', config: 'from [path] of the configuration', default: 'nothing is configured',
}

export function policyText(who: string, shown: IpcPathPolicy & { readonly from: PeerPolicyResult['from'] }): string {
  return `${who}: ${policyWords(shown)} (${origin[shown.from]}).`
}

/** `only TCP`, `UDP and TCP, TCP first`, `any kind of path`. */
function policyWords({ prefer, only, never }: IpcPathPolicy): string {
  const words = [
    ...(only === undefined ? [] : [`only ${only.toUpperCase()}`]),
    ...(never.length === 0 ? [] : [`never ${never.map((kind) => kind.toUpperCase()).join(' or ')}`]),
    ...(prefer === undefined ? [] : [`${prefer.toUpperCase()} before all others`]),
  ]
  return words.length === 0 ? 'any kind of path, the best first' : words.join(', ')
}
