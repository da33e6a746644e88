import type { Client } from '../../src/client/client.ts'
import { TestDaemon, until } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { StunServer } from '../support/stun-server.ts'
import { startCoturn } from './coturn.ts'
import type { Namespace } from './namespaces.ts'
import type { NatKind } from './nat-rules.ts'
import { NatLab, PUBLIC_HOSTS, type SideOptions } from './nat.ts'
import { pathTo } from './talk.ts'

/** Which server says where they are. */
export type StunKind = 'own' | 'coturn'
const SERVERS: Readonly<Record<StunKind, string>> = { own: `${PUBLIC_HOSTS[0]}:4478`, coturn: `${PUBLIC_HOSTS[0]}:3478` }
/** Who learns no outside address in this time learns none. */
const REFLEXIVE_MS = 3000
const APP = 'first'

export interface Meeting {
  /** By which kind of path the two are connected; `none`: not in time. */
  readonly path: 'udp' | 'tcp' | 'none'
  /** From the moment at which both know where the other may be, until there is a direct path. */
  readonly ms: number
  /** … until an app has the first message of the other's; `none`: not in time. */
  readonly firstMessageMs: number | 'none'
}

export interface HomesOptions {
  /** The machines of the two; by default the first of each side. */
  readonly machines?: (lab: NatLab) => readonly [Namespace, Namespace]
  /** What is done to the networks before anything runs in them. */
  readonly prepare?: (lab: NatLab) => void
  readonly stun?: StunKind
}

/**
 * Two daemons at home, each on a machine of a lab. What they learnt of where they are they learnt from a STUN server, which runs until they
 * {@link meet}.
 */
export class Homes implements AsyncDisposable {
  readonly lab: NatLab
  readonly machines: readonly [Namespace, Namespace]
  readonly #temporary: TemporaryDirectory
  readonly #daemons: TestDaemon[] = []
  readonly #stun: StunKind
  #server: AsyncDisposable | undefined

  private constructor(lab: NatLab, machines: readonly [Namespace, Namespace], stun: StunKind) {
    this.lab = lab
    this.machines = machines
    this.#stun = stun
    this.#temporary = new TemporaryDirectory()
  }

  static async open(sides: readonly SideOptions[], { machines = firstOfEach, prepare, stun = 'own' }: HomesOptions = {}): Promise<Homes> {
    const lab = new NatLab(sides)
    const homes = new Homes(lab, machines(lab), stun)
    try {
      prepare?.(lab)
      await homes.#start()
      return homes
    } catch (error) {
      await homes[Symbol.asyncDispose]()
      throw error
    }
  }

  async #start(): Promise<void> {
    this.#server = this.#stun === 'coturn' ? await startCoturn(this.lab.server, this.#temporary.path)
      : await StunServer.start(['--host', PUBLIC_HOSTS[0], '--other', PUBLIC_HOSTS[1], '--port', '4478', '--alternate', '4479'], this.lab.server.prefix)
    for (const [i, machine] of this.machines.entries()) {
      this.#daemons.push(await TestDaemon.start(this.#temporary.join(`${i}`), {
        machine, env: { POSTERN_STUN: '1' }, toml: `[stun]\nservers = ["${SERVERS[this.#stun]}"]\nportal = ""\n[portmap]\nenabled = false\n`,
      }))
    }
    await Promise.all(this.#daemons.map(async (daemon) => {
      const client = await daemon.client()
      await until(() => seesItself(client), 'an outside address', REFLEXIVE_MS).catch(() => undefined)
    }))
  }

  get daemons(): readonly [TestDaemon, TestDaemon] {
    return this.#daemons as [TestDaemon, TestDaemon]
  }

  /** Both pair by a two-way invite, and no server runs any more. */
  async meet(patienceMs: number): Promise<Meeting> {
    const [near, far] = this.daemons
    const [inviter, joiner] = [await near.client({ app: APP }), await far.client({ app: APP })]
    const { link } = await inviter.invites.create()
    await this.#server?.[Symbol.asyncDispose]()
    this.#server = undefined
    await using listener = await joiner.listen(APP)
    const heard = (async (): Promise<void> => {
      for await (const incoming of listener) {
        const channel = await incoming.accept()
        await channel.receive()
        return
      }
    })()

    await joiner.invites.join(link)
    const reply = await joiner.invites.reply(near.peerId)
    const begun = performance.now()
    await inviter.invites.accept(reply)
    const patience = AbortSignal.timeout(patienceMs)
    const speaking = say(inviter, far.peerId, patience)
    const first = Promise.all([heard, speaking]).then(() => Math.round(performance.now() - begun))
    const direct = until(async () => (await pathTo(inviter, far.peerId)) !== undefined, 'the session', patienceMs).catch(() => undefined)
      .then(() => Math.round(performance.now() - begun))
    const [ms, firstMessageMs] = await Promise.all([direct, Promise.race([first.catch(() => 'none' as const), over(patience)])])
    heard.catch(() => undefined)
    const path = await pathTo(inviter, far.peerId)
    return { path: path === undefined ? 'none' : path.startsWith('tcp ') ? 'tcp' : 'udp', ms, firstMessageMs }
  }

  /** By which path the first talks to the second now. */
  async path(): Promise<string | undefined> {
    const [near, far] = this.daemons
    return await pathTo(await near.client(), far.peerId)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await Promise.all(this.#daemons.map((daemon) => daemon[Symbol.asyncDispose]()))
      await this.#server?.[Symbol.asyncDispose]()
    } finally {
      this.lab[Symbol.dispose]()
      this.#temporary[Symbol.dispose]()
    }
  }
}

/** Two homes pair by a two-way invite, while no server runs. */
export async function meet(sides: readonly [NatKind | SideOptions, NatKind | SideOptions], patienceMs: number, stun: StunKind = 'own'): Promise<Meeting> {
  await using homes = await Homes.open(sides.map((side) => (typeof side === 'string' ? { kind: side } : side)), { stun })
  return await homes.meet(patienceMs)
}

function firstOfEach({ sides }: NatLab): readonly [Namespace, Namespace] {
  return [sides[0]!.machines[0]!, sides[1]!.machines[0]!]
}

async function seesItself(client: Client): Promise<boolean> {
  return (await client.status()).addresses.some((address) => address.startsWith('11.0.0.1') || address.startsWith('[2001:470:1'))
}

/** The first message goes as soon as the daemon has a session: who waits for one longer than a channel may take to open asks again. */
async function say(client: Client, peer: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const channel = await client.openChannel(peer, { app: APP, signal }).catch((error: unknown) => {
      if (signal.aborted) throw error
    })
    if (channel === undefined) continue
    await channel.send(new TextEncoder().encode('hello'))
    return
  }
}

async function over(signal: AbortSignal): Promise<'none'> {
  return await new Promise((resolve) => {
    if (signal.aborted) resolve('none')
    else signal.addEventListener('abort', () => resolve('none'), { once: true })
  })
}
