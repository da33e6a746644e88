import type { Client } from '../../src/client/client.ts'
import { TestDaemon, until } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { StunServer } from '../support/stun-server.ts'
import { startCoturn } from './coturn.ts'
import type { NatKind } from './nat-rules.ts'
import { NatLab, PUBLIC_HOSTS, type SideOptions } from './nat.ts'

const SERVERS = { own: `${PUBLIC_HOSTS[0]}:4478`, coturn: `${PUBLIC_HOSTS[0]}:3478` } as const
/** Who learns no outside address in this time learns none. */
const REFLEXIVE_MS = 3000

export interface Meeting {
  /** By which kind of path the two are connected; `none`: not in time. */
  readonly path: 'udp' | 'tcp' | 'none'
  /** From the moment at which both know where the other may be, until there is a session. */
  readonly ms: number
}

/** The path to the other, once there is one. */
async function pathTo(client: Client, peer: string): Promise<string | undefined> {
  return (await client.peers()).find(({ id, state }) => id === peer && state === 'connected')?.path
}

/** Two homes pair by a two-way invite. What they learnt of themselves they learnt from a STUN server that does not run any more. */
export async function meet(sides: readonly [NatKind | SideOptions, NatKind | SideOptions], patienceMs: number, stun: 'own' | 'coturn' = 'own'): Promise<Meeting> {
  using temporary = new TemporaryDirectory()
  using lab = new NatLab(sides.map((side) => (typeof side === 'string' ? { kind: side } : side)))
  const server = stun === 'coturn' ? await startCoturn(lab.server, temporary.path)
    : await StunServer.start(['--host', PUBLIC_HOSTS[0], '--other', PUBLIC_HOSTS[1], '--port', '4478', '--alternate', '4479'], lab.server.prefix)
  const start = (i: number): Promise<TestDaemon> => TestDaemon.start(temporary.join(`${i}`), {
    machine: lab.sides[i]!.machines[0]!, env: { POSTERN_STUN: '1' }, toml: `[stun]\nservers = ["${SERVERS[stun]}"]\nportal = ""\n[portmap]\nenabled = false\n`,
  })
  await using near = await start(0)
  await using far = await start(1)
  const [inviter, joiner] = [await near.client(), await far.client()]
  const seen = async (client: Client): Promise<boolean> => (await client.status()).addresses.some((address) => address.startsWith('11.0.0.1'))
  await Promise.all([inviter, joiner].map((client) => until(() => seen(client), 'an outside address', REFLEXIVE_MS).catch(() => undefined)))
  const { link } = await inviter.invites.create()
  await server[Symbol.asyncDispose]()

  await joiner.invites.join(link)
  const reply = await joiner.invites.reply(near.peerId)
  const begun = performance.now()
  await inviter.invites.accept(reply)
  await until(async () => (await pathTo(inviter, far.peerId)) !== undefined, 'the session', patienceMs).catch(() => undefined)
  const path = await pathTo(inviter, far.peerId)
  return { path: path === undefined ? 'none' : path.startsWith('tcp ') ? 'tcp' : 'udp', ms: Math.round(performance.now() - begun) }
}
