import { z } from 'zod'
import { lifetimeStates, natSources, netcheckStates, netcheckTcpStates, portMappingProtocols, portMappingStates, stunServerStates, stunStates, type IpcLifetime, type IpcNat, type IpcOwnNat, type IpcPortMapping, type IpcReflexive, type IpcStunServer, type IpcStunStatus, type IpcStunTcp, type NetcheckFamily, type NetcheckInterface, type NetcheckResult, type NetcheckServer, type NetcheckTcp } from '../core/wire/ipc/ipc-nat.ts'
import { count, milliseconds, object, type Members, unixMs } from './schema-parts.ts'

const server = object<IpcStunServer>({
  name: z.string().describe('As it is configured'), address: z.string().optional(), state: z.enum(stunServerStates).describe('unasked: none was needed; resting: it failed too often; unresolved: its name has no address yet'),
  rttMs: milliseconds.optional(),
})

const reflexive = object<IpcReflexive>({ address: z.string(), server: z.string().describe('Who said so'), ageMs: milliseconds })

export const stunSchema: z.ZodType<IpcStunStatus> = object<IpcStunStatus>({
  enabled: z.boolean().describe('false: nobody is asked ([stun] in the configuration, or POSTERN_STUN=0)'), asking: z.boolean().describe('An answer is waited for'),
  servers: z.array(server).describe('In the order in which they are asked'),
  reflexive: z.array(reflexive).describe('One of each family at most'),
  tcp: object<IpcStunTcp>({
    able: z.boolean().describe('false: dials cannot leave from the port that is listened on (no native addon), or nothing listens by TCP'), asking: z.boolean(), reflexive: z.array(reflexive),
  }).describe('The same by TCP, asked only where UDP does not tell: no answer by UDP, or another port outside than inside'),
})

export const portMappingSchema: z.ZodType<IpcPortMapping> = object<IpcPortMapping>({
  state: z.enum(portMappingStates).describe('disabled: [portmap] in the configuration, or POSTERN_PORTMAP=0; off: no router to ask, or no need; none: nobody answers, or the answer is no; stopped: the daemon ends'),
  protocol: z.enum(portMappingProtocols).optional().describe('What the router speaks'), router: z.string().optional().describe('The default gateway'),
  mapped: z.array(object<IpcPortMapping['mapped'][number]>({ transport: z.enum(['udp', 'tcp']), external: z.string().describe('Where the router lets in'), leftMs: milliseconds.describe('Until it ends unless it is renewed') })),
  reason: z.string().optional().describe('Why there is none'),
})

const natMembers: Members<IpcNat> = {
  mapping: z.string().describe('Class of RFC 4787, as in netcheck'), filtering: z.string().describe('Class of RFC 4787, as in netcheck'), word: z.string().describe('As in netcheck: symmetric, port-restricted cone, …, unknown'),
  from: z.enum(natSources).describe('netcheck: asked after as RFC 5780 says; servers: what two servers saw was compared; told: the peer says so; seen: where the peer is seen was compared with what it was told; none: nobody knows'),
}
const lifetime = object<IpcLifetime>({
  state: z.enum(lifetimeStates).describe('running: it is being measured; unsupported: no server does what RESPONSE-PORT of RFC 5780 asks; silent: none answers, or none any more; off: nobody is asked'),
  aliveS: z.number().min(0).describe('After so many seconds a silent mapping was still there; 0: not known'), goneS: z.number().optional().describe('After so many seconds it was gone; absent: it never was'),
})
const ipv6 = z.boolean().describe('It has a public address of IPv6')

export const natSchema: z.ZodType<IpcOwnNat> = object<IpcOwnNat>({ ...natMembers, servers: z.enum(stunStates).describe('Whether STUN servers answer; off: nobody is asked; unknown: nobody has been asked yet'), ipv6, lifetime: lifetime.optional().describe('How long the NAT keeps a mapping, where netcheck --lifetime was asked on this network'), keepAliveS: z.number().optional().describe('Seconds between keep-alives over UDP, where that is less than is configured') })

export const peerNatSchema: z.ZodType<IpcNat & { readonly ipv6: boolean }> = object<IpcNat & { readonly ipv6: boolean }>({ ...natMembers, ipv6 })

const family = object<NetcheckFamily>({
  state: z.enum(netcheckStates).describe('off: nobody was asked; no_server: none is known that has an address of this family'),
  mapped: z.string().optional().describe('Where a fresh socket of this machine is seen'), portKept: z.boolean().optional().describe('The port outside is the port here'),
  mapping: z.string().describe('none, endpoint-independent, address-dependent, address-and-port-dependent (RFC 4787), dependent (one of the last two), unknown'),
  filtering: z.string().describe('endpoint-independent, address-dependent, address-and-port-dependent (RFC 4787), unknown'),
  word: z.string().describe('open, firewall, full cone, restricted cone, port-restricted cone, symmetric, cone (filtering is unknown), unknown'),
  hairpin: z.boolean().optional().describe('Two sockets of this machine reach each other by their outside addresses'), meaning: z.string().describe('For people'),
  servers: z.array(object<NetcheckServer>({
    name: z.string(), address: z.string(), outcome: z.enum(['answered', 'refused', 'silent', 'unreachable']), rttMs: milliseconds.optional(), mapped: z.string().optional(),
    behaviour: z.boolean().describe('It speaks RFC 5780'),
  })),
})

export const netcheckSchema: z.ZodType<NetcheckResult> = object<NetcheckResult>({
  at: unixMs, tookMs: count,
  interfaces: z.array(object<NetcheckInterface>({ name: z.string(), address: z.string(), kind: z.string().describe('global, private, shared (behind the NAT of a provider), link-local, loopback') })),
  udp4: family.describe('UDP over IPv4'), udp6: family.describe('UDP over IPv6'), 
  tcp: object<NetcheckTcp>({
    state: z.enum(netcheckTcpStates).describe('off: nobody was asked; no_server: none is known'), mapped: z.string().optional().describe('Where a fresh port of this machine is seen'),
    portKept: z.boolean().optional().describe('The port outside is the port here'), server: z.string().optional().describe('Who said so'), connectMs: milliseconds.optional().describe('To connect, and to be answered'),
    punching: z.boolean().describe('Dials leave from the port that is listened on, so that two routers can be passed by TCP: only with the native addon'),
  }).describe('STUN over TCP'),
  unresolved: z.array(z.string()).describe('Configured servers whose names have no address'),
  portal: z.enum(['none', 'likely', 'unknown']).describe('Whether the network makes people log in first: a guess'),
  portMapping: portMappingSchema.describe('Ports of this node that its router lets in'),
  lifetime: lifetime.optional().describe('With --lifetime: how long the NAT keeps a mapping of UDP over IPv4 by which nothing goes'),
})
