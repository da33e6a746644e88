import type { PeerWhyResult, WhyAdvice, WhyResult } from '../../core/wire/ipc/ipc-why.ts'
import { remediesFor, type RemedyFacts } from './why-remedies.ts'

type Facts = Omit<PeerWhyResult, 'advice'>

export interface RouterFacts extends Pick<RemedyFacts, 'portMapping' | 'advertises'> {
  readonly sessions: number
}

export interface NodeFacts {
  readonly inRoster: boolean
  /** A UDP socket is open. */
  readonly udp: boolean
  /** The configuration lets TCP be dialed. */
  readonly tcp: boolean
}

/** What the reader can do, in plain words, the most likely remedy first; empty where all is as good as it gets. */
export function adviceFor(facts: Facts, node: NodeFacts, outside: RouterFacts): WhyAdvice[] {
  if (!node.udp) return [{ text: 'This daemon has no UDP socket at the moment; its log says why, and it goes on trying to open one.', command: 'postern log' }]
  const routers = (): WhyAdvice[] => remediesFor({
    nat: facts.nat, portMapping: outside.portMapping, advertises: outside.advertises, connected: facts.state === 'connected', otherPeers: outside.sessions, who: nameOf(facts),
  })
  return facts.state === 'connected' ? connected(facts, routers) : unreached(facts, node, routers)
}

function connected(facts: Facts, routers: () => WhyAdvice[]): WhyAdvice[] {
  const { path, policy } = facts
  if (path?.kind !== 'tcp') return []
  if (policy.only === 'tcp' || policy.prefer === 'tcp' || policy.never.includes('udp')) return [takeBack(facts, 'TCP is used because the policy asks for it.')]
  const resting = facts.probes.some(({ restMs }) => restMs !== undefined)
  if (resting) return [{ text: 'UDP answers probes but loses what is sent: something on the way drops it, or only small datagrams pass. It is tried again when its rest is over.' }]
  const held = facts.probes.filter(({ refused }) => refused !== undefined)
  if (held.length > 0) return [{ text: `This machine does not let UDP go to ${listed(held.map(({ address }) => address))}: look at its packet filter and its routes.` }]
  if (facts.nat.outlook === 'never' || facts.nat.outlook === 'guess') return [{ text: 'UDP to the peer does not get through, so TCP carries the traffic: it costs latency.' }, ...routers()]
  return [{ text: `UDP to the peer does not get through, so TCP carries the traffic: it costs latency. Let UDP pass${asked(facts)} in the firewalls on the way, in both directions. It is asked again by itself.` }]
}

/** At most two addresses that are asked. */
function asked({ probes }: Facts): string {
  return probes.length === 0 ? '' : ` to ${probes.slice(0, 2).map(({ address }) => address).join(' and ')}${probes.length > 2 ? ' …' : ''}`
}

function unreached(facts: Facts, node: NodeFacts, routers: () => WhyAdvice[]): WhyAdvice[] {
  const who = nameOf(facts)
  switch (facts.reason) {
    case 'not_admitted':
    case 'revoked':
    case 'refused':
      return [{ text: 'The peer answers, and refuses sessions with this node. Ask there for a new invite (postern invite), and join by it here.', command: 'postern join <link>' }]
    case 'busy':
      return [{ text: 'The peer answers, and has no room at the moment. It is tried again by itself.' }]
    case 'suite':
    case 'downgrade':
      return [{ text: 'The peer speaks no common cipher suite: bring both nodes to the same version.', command: 'postern --version' }]
    default:
  }
  const advice: WhyAdvice[] = []
  if (forbidsSomething(facts)) advice.push(takeBack(facts, 'The policy forbids some of the ways to this peer.'))
  const { attempts } = facts
  if (attempts.length === 0) {
    if (!node.inRoster) return [...advice, { text: 'This peer is not in the roster, and no address of it is known.', command: `postern peers add ${facts.id} --address <address>` }]
    advice.push(facts.state === 'offline'
      ? { text: 'Nothing has been tried since the daemon was started, or all is over. Try it:', command: `postern ping ${who}` }
      : { text: 'No address of this peer is known: only it can dial this node. Join by an invite of that node, or add an address.', command: `postern peers add ${facts.id} --address <address>` })
    return advice
  }
  // Where something answers, or this machine cannot even send, no router is to blame.
  const silent = attempts.every(({ result }) => quiet.includes(result))
  if (!silent) return [...advice, ...byAnswers(facts, node)]
  const between = facts.nat.outlook === 'never' || facts.nat.outlook === 'guess'
  return between ? [...advice, ...routers(), ...byAnswers(facts, node)] : [...advice, ...byAnswers(facts, node), ...routers()]
}

/** Nothing came back from there. */
const quiet: readonly WhyResult[] = ['no_answer', 'waiting', 'called_off', 'policy']

/** By what the addresses answered. */
function byAnswers(facts: Facts, node: NodeFacts): WhyAdvice[] {
  const advice: WhyAdvice[] = []
  const say = (results: readonly WhyResult[], text: (places: string) => string, command?: string): void => {
    const places = [...new Set(facts.attempts.filter(({ result }) => results.includes(result)).map(({ address }) => address))]
    if (places.length > 0) advice.push({ text: text(listed(places)), ...(command === undefined ? {} : { command }) })
  }
  say(['forbidden'], (places) => `This machine's own packet filter forbids to send to ${places}.`)
  say(['unreachable'], (places) => `This machine has no way to ${places}: is its network up?`)
  say(['refused'], (places) => `A machine answers at ${places}, but no Postern daemon listens there: is posternd running there, at this port? There: postern status`)
  say(['not_postern'], (places) => `What answers at ${places} is no Postern daemon: the address is an old or a wrong one.`, `postern peers add ${facts.id} --address <address>`)
  say(['no_resources'], () => 'This machine was out of sockets or memory when it dialed.', 'postern status')
  if (facts.attempts.every(({ result }) => quiet.includes(result))) {
    advice.push({ text: 'Nobody answers at any address. Is that machine on, is posternd running there, do its addresses still hold? If they have changed: a new invite there (postern invite), and here:', command: 'postern join <link>' })
  }
  if (!node.tcp && facts.attempts.some(({ kind, result }) => kind === 'udp' && result !== 'answered')) {
    advice.push({ text: 'TCP, which gets through where UDP is blocked, is switched off: set [tcp] enabled = true and restart the daemon.', command: 'postern config check' })
  }
  return advice
}

function forbidsSomething({ policy }: Facts): boolean {
  return policy.only !== undefined || policy.never.length > 0
}

function takeBack(facts: Facts, text: string): WhyAdvice {
  return facts.policy.from === 'peer' ? { text, command: `postern peers policy ${nameOf(facts)} --default` } : { text: `${text} It is that of the configuration: [path].`, command: 'postern config show' }
}

/** Addresses in a sentence; of many only the first. */
function listed(places: readonly string[]): string {
  const shown = places.slice(0, 3).join(', ')
  return places.length > 3 ? `${shown} and ${places.length - 3} more` : shown
}

/** What a command takes: a name would have to be quoted. */
function nameOf({ id, name }: Facts): string {
  return name !== undefined && /^[\w.-]+$/.test(name) ? name : id.slice(0, 8)
}
