import { z } from 'zod'
import type { IpcPathPolicy, PeerWhyResult } from '../client/client.ts'
import { ipcPathKinds } from '../core/wire/ipc/ipc-policy.ts'
import { ipcPeerStates } from '../core/wire/ipc/ipc-methods.ts'
import { whyCandidateTypes, whyGuessOutcomes, whyOutlooks, whyPairResults, whyPathStates, whyResults } from '../core/wire/ipc/ipc-why.ts'
import { natSchema, peerNatSchema } from './nat-schema.ts'
import { count, milliseconds, object, type Members, peerId, share, unixMs } from './schema-parts.ts'

type Part<T> = T extends readonly (infer Item)[] ? Item : never
type Event = Part<PeerWhyResult['history']>
type Place = NonNullable<Event['from']>
type Policy = PeerWhyResult['policy']

const kind = z.string().describe('Kind of path: udp, tcp, ble')
const address = z.string().describe('192.0.2.1:7000 or [2001:db8::1]:7000')
const place = object<Place>({ kind, address })
const pathKind = z.enum(ipcPathKinds)

/** The policy in force for a peer. */
export const policyMembers: Members<IpcPathPolicy> = {
  prefer: pathKind.optional().describe('This kind before all others'), only: pathKind.optional().describe('No other kind'), never: z.array(pathKind).describe('None of these'),
}
export const policyFrom: z.ZodType<Policy['from']> = z.enum(['peer', 'config', 'default']).describe('Set for this peer, by [path] of the configuration, or by nobody')

const path = object<Part<PeerWhyResult['paths']>>({
  kind, address, active: z.boolean().describe('It carries the traffic'),
  state: z.enum(whyPathStates).describe('proven: it answered lately; asked: it has yet to answer; silent; refused: the system does not send there; quarantined: it answers probes, but lost what was sent there; policy: the policy forbids it'),
  rttMs: milliseconds.optional(), loss: share.describe('Share of packets lost'), sent: count.describe('Packets sent'), lost: count.describe('Packets lost'),
  mtu: count.describe('Largest datagram that is sent there, bytes of UDP payload'), openedAt: unixMs, answeredAt: unixMs.optional().describe('When it last answered a question, Unix milliseconds'),
  radio: object<NonNullable<Part<PeerWhyResult['paths']>['radio']>>({
    rssi: z.int().optional().describe('dBm, of the advertisements of the peer, if heard lately'), mtu: count.describe('ATT MTU, bytes'), intervalMs: milliseconds.optional().describe('From one connection event to the next, when the link was opened'),
  }).optional().describe('Of a Bluetooth link'),
  silentMs: milliseconds.optional().describe('How long nothing has been acknowledged there, though something is to be'),
})

const attempt = object<Part<PeerWhyResult['attempts']>>({
  kind, address, result: z.enum(whyResults), count: count.describe('How often it was tried; 0: it was not'), firstAt: unixMs.optional(), lastAt: unixMs.optional(),
  cause: z.string().optional().describe('dial: there was no session; unanswered: UDP did not answer a dial; doubt: nothing was acknowledged; refused: the system does not send; policy; better: the way in use is of a worse kind'),
})

const candidate = object<NonNullable<Part<PeerWhyResult['pairs']>['ours']>>({ address, type: z.enum(whyCandidateTypes).describe('host: of an interface; reflexive: as a STUN server sees it; mapped: by a port of the router; known: from an invite, the roster, an earlier session') })

const pair = object<Part<PeerWhyResult['pairs']>>({
  kind, ours: candidate.optional().describe('What the peer would see; absent: this node has no address that goes with it'), theirs: candidate,
  result: z.enum(whyPairResults).describe('As of attempts and paths; in_use: it carries the traffic; works; not_tried: another way is good, or its turn has not come; not_asked: no datagram goes there because a peer names it'),
  count: count.describe('How often it was tried'), at: unixMs.optional().describe('When that became known'),
})

const event = object<Event>({
  at: unixMs, what: z.enum(['move', 'quarantine', 'dial', 'close', 'doubt', 'silent', 'refused', 'mtu', 'policy', 'end']), text: z.string().describe('For people'),
  from: place.optional(), to: place.optional(), reason: z.string().optional().describe('Rule, cause or reason, as a word for programs'), count: count.optional().describe('So often since the last move; absent: once'),
})

export const whySchema: z.ZodType<PeerWhyResult> = object<PeerWhyResult>({
  id: peerId, name: z.string().optional(), at: unixMs.describe('When this was read'), state: z.enum(ipcPeerStates), since: unixMs.describe('Since when it is in this state'),
  reason: z.string().optional().describe('Why, where something ended'),
  path: object<NonNullable<PeerWhyResult['path']>>({ kind, address, since: unixMs, rule: z.string().describe('Which rule chose it: docs/ipc.md'), because: z.string().describe('The rule in a sentence') }).optional().describe('The path in use'),
  policy: object<Policy>({ ...policyMembers, from: policyFrom }),
  nat: object<PeerWhyResult['nat']>({
    ours: natSchema.describe('UDP over IPv4, this side'), theirs: peerNatSchema.describe('The peer, as far as it told or shows'), between: z.boolean().describe('Some address of the peer is of the Internet: routers may be in between'), text: z.string().describe('For people'),
    outlook: z.enum(whyOutlooks).describe('plain: dialing at the same time is enough; guess: ports have to be guessed; never: no direct way by UDP; unknown'),
  }),
  guess: object<NonNullable<PeerWhyResult['guess']>>({
    role: z.enum(['hard', 'easy']).describe('hard: this side opened many sockets; easy: it tried many ports of the other'), target: address, startedAt: unixMs, endedAt: unixMs.optional(), outcome: z.enum(whyGuessOutcomes),
    sent: count.describe('Datagrams that were sent'), heard: count.describe('Those of the peer that came in'),
  }).optional().describe('The last round of guessing ports'),
  pairs: z.array(pair).describe('Addresses of the peer by kind of path, each with ours and the last result; the one in use first'), paths: z.array(path), attempts: z.array(attempt).describe('What was tried, by kind of path and address, with the last answer'),
  probes: z.array(object<Part<PeerWhyResult['probes']>>({
    address, unanswered: count.describe('Questions since the last answer'), refused: z.enum(whyResults).optional().describe('The system did not send there'), restMs: milliseconds.optional().describe('It answered probes, but lost what was sent there, and rests for so much longer'),
  })).describe('UDP addresses that are asked, while UDP carries no traffic, whether they answer again'),
  dial: object<NonNullable<PeerWhyResult['dial']>>({ since: unixMs, loud: z.boolean().describe('false: it was given up once, and there are pauses now'), nextMs: milliseconds.optional() }).optional().describe('The dial that is under way'),
  history: z.array(event).describe('Oldest first'), bounds: object<PeerWhyResult['bounds']>({ history: count, attempts: count, pairs: count }).describe('How many of each are kept at most'),
  advice: z.array(object<Part<PeerWhyResult['advice']>>({ text: z.string(), remedy: z.string().optional().describe('A word for programs: classes, port_mapping, forward, ipv6, ipv6_firewall, public_friend, both_at_once, common_peer, servers'), command: z.string().optional().describe('To type next') })).describe('What would help; empty where there is nothing to do'),
})
