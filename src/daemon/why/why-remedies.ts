/** What would let two nodes meet that do not, by what is known of the routers before them: a table of conditions and words. Pure. */
import type { IpcPortMapping } from '../../core/wire/ipc/ipc-nat.ts'
import type { WhyAdvice, WhyNats } from '../../core/wire/ipc/ipc-why.ts'

/** What the remedies look at. */
export interface RemedyFacts {
  readonly nat: WhyNats
  readonly portMapping: IpcPortMapping
  /** `[udp] advertise` names an address. */
  readonly advertises: boolean
  /** TCP carries the traffic meanwhile. */
  readonly connected: boolean
  /** Whom this node has sessions with. */
  readonly otherPeers: number
  /** As commands take it. */
  readonly who: string
}

interface Remedy {
  readonly word: string
  readonly applies: (facts: RemedyFacts) => boolean
  readonly say: (facts: RemedyFacts) => Omit<WhyAdvice, 'remedy'>
}

/** The routers are what stands between, as far as anybody knows. */
const isBetweenRouters = ({ nat }: RemedyFacts): boolean => nat.outlook === 'never' || nat.outlook === 'guess'
const mustBothDial = ({ nat, connected }: RemedyFacts): boolean => nat.between && !connected && nat.outlook !== 'never' && !isOpen(nat)
const isMapped = ({ portMapping, advertises }: RemedyFacts): boolean => portMapping.state === 'mapped' || advertises

const remedies: readonly Remedy[] = [
  {
    word: 'classes',
    applies: isBetweenRouters,
    say: ({ nat }) => ({ text: `The router here is ${classText(nat.ours)}, the one of the peer ${classText(nat.theirs)}. ${nat.text} ${nat.outlook === 'never' ? 'One of the following is enough' : 'One of the following spares the guessing'}:` }),
  },
  {
    word: 'port_mapping',
    applies: (facts) => isBetweenRouters(facts) && !isMapped(facts),
    say: ({ portMapping }) => ({ text: `Port mapping on one of the two routers: switch on UPnP, NAT-PMP or PCP there ("automatic port forwarding"). Here: ${mappingText(portMapping)}.`, command: 'postern netcheck' }),
  },
  {
    word: 'forward',
    applies: (facts) => isBetweenRouters(facts) && !isMapped(facts),
    say: () => ({ text: 'A UDP port that one of the routers forwards by hand to the machine, named in the configuration there: [udp] port, and advertise = ["<outside address>:<port>"].' }),
  },
  {
    word: 'ipv6',
    applies: (facts) => isBetweenRouters(facts) && !(facts.nat.ours.ipv6 && facts.nat.theirs.ipv6),
    say: ({ nat }) => ({ text: `IPv6 on both sides, which needs no NAT: ${nat.ours.ipv6 ? 'it is here, and of the peer none is known' : nat.theirs.ipv6 ? 'the peer has it, and this machine does not' : 'this machine has none, and of the peer none is known'}.` }),
  },
  {
    word: 'ipv6_firewall',
    applies: (facts) => (isBetweenRouters(facts) || facts.nat.outlook === 'unknown') && facts.nat.ours.ipv6 && facts.nat.theirs.ipv6,
    say: () => ({ text: 'Both sides have IPv6, where no NAT is in the way: let UDP in on one of the two sides (in the firewall of its router), or dial from both at the same time.' }),
  },
  {
    word: 'public_friend',
    applies: (facts) => facts.nat.outlook === 'never',
    say: () => ({ text: 'A common friend whose machine can be reached from everywhere: let that one host, and both connect to it. Postern does not pass traffic on for others.' }),
  },
  {
    word: 'both_at_once',
    applies: mustBothDial,
    say: ({ who }) => ({ text: 'Behind routers both sides must dial at the same time: ask the other one to do the same now, or join by an invite and send back the reply that it prints.', command: `postern ping ${who}` }),
  },
  {
    word: 'common_peer',
    applies: (facts) => mustBothDial(facts) && facts.otherPeers === 0,
    say: () => ({ text: 'A peer that both have a session with would introduce the two to each other: this node has none at the moment.' }),
  },
  {
    word: 'servers',
    applies: ({ nat }) => nat.ours.servers === 'silent',
    say: () => ({ text: 'No STUN server answers, so this node does not know where it is seen from outside, and what its router does: peers find it at forwarded and mapped ports, by its interfaces, and when it dials them.', command: 'postern netcheck' }),
  },
]

/** One side lets in everybody, so the other one need only dial. */
function isOpen({ ours, theirs }: WhyNats): boolean {
  return [ours, theirs].some(({ word }) => word === 'open' || word === 'full cone')
}

/** What helps, the most likely first; nothing where the facts speak of no router. */
export function remediesFor(facts: RemedyFacts): WhyAdvice[] {
  return remedies.filter(({ applies }) => applies(facts)).map(({ word, say }) => ({ remedy: word, ...say(facts) }))
}

/** The class in the words of people and of RFC 4787. */
function classText({ word, mapping, filtering }: WhyNats['theirs']): string {
  if (word === 'unknown') return 'of a kind that nobody knows'
  const mapped = mapping === 'dependent' ? 'another port for each destination' : `mapping ${mapping}`
  return `${word} (${mapped}${filtering === 'unknown' ? '' : `, filtering ${filtering}`})`
}

function mappingText({ state, reason, router }: IpcPortMapping): string {
  switch (state) {
    case 'disabled': return 'it is switched off in the configuration ([portmap] enabled)'
    case 'off': return 'there is no router to ask'
    case 'searching': return 'the router is being asked'
    case 'none': return reason === 'silent' ? `${router ?? 'the router'} does not answer` : `${router ?? 'the router'} refuses`
    case 'mapped': return 'a port is mapped'
    case 'stopped': return 'the daemon is ending'
  }
}
