import { describe, expect, it } from 'vitest'
import type { PeerWhyResult } from '../../src/client/client.ts'
import { TestDaemon, until } from '../e2e/support/daemon.ts'
import { postern, posternJson } from '../e2e/support/program.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { StunServer } from '../support/stun-server.ts'
import { whyNoFilters } from './namespaces.ts'
import type { NatKind } from './nat-rules.ts'
import { NatLab, PUBLIC_HOSTS } from './nat.ts'

const skipped = whyNoFilters()
const SERVER = `${PUBLIC_HOSTS[0]}:4478`

/** Two homes tried to pair by a two-way invite; calls `look` with the inviter and the id of the other one. */
async function pairHomes(kinds: readonly [NatKind, NatKind], look: (near: TestDaemon, far: TestDaemon) => Promise<void>): Promise<void> {
  using temporary = new TemporaryDirectory()
  using lab = new NatLab(kinds.map((kind) => ({ kind })))
  await using _server = await StunServer.start(['--host', PUBLIC_HOSTS[0], '--other', PUBLIC_HOSTS[1], '--port', '4478', '--alternate', '4479'], lab.server.prefix)
  const start = (i: number): Promise<TestDaemon> => TestDaemon.start(temporary.join(`${i}`), {
    machine: lab.sides[i]!.machines[0]!, env: { POSTERN_STUN: '1' }, toml: `[stun]\nservers = ["${SERVER}"]\nportal = ""\n[portmap]\nenabled = false\n`,
  })
  await using near = await start(0)
  await using far = await start(1)
  const [inviter, joiner] = [await near.client(), await far.client()]
  await Promise.all([inviter, joiner].map((client) => until(async () => (await client.status()).nat?.mapping !== 'unknown', 'its own mapping', 20_000)))
  const { link } = await inviter.invites.create()
  await joiner.invites.join(link)
  await inviter.invites.accept(await joiner.invites.reply(near.peerId))
  await look(near, far)
}

const whyOf = async (daemon: TestDaemon, peer: string): Promise<PeerWhyResult> => (await posternJson(daemon.dir, 'why', peer)) as unknown as PeerWhyResult

describe.skipIf(skipped !== undefined)(`postern why behind real routers${skipped === undefined ? '' : ` (skipped: ${skipped})`}`, () => {
  it('names both classes and the remedies where both are symmetric', async () => {
    await pairHomes(['sym', 'sym'], async (near, far) => {
      let found = await whyOf(near, far.peerId)
      await until(async () => {
        found = await whyOf(near, far.peerId)
        return found.nat.ours.from === 'netcheck' && found.attempts.length > 0
      }, 'its own class', 40_000)
      expect(found.nat.ours).toMatchObject({ mapping: 'address-and-port-dependent', filtering: 'address-and-port-dependent', word: 'symmetric', servers: 'answer' })
      expect(found.nat).toMatchObject({ theirs: { word: 'symmetric', from: 'told' }, outlook: 'never' })
      expect(found.pairs).toContainEqual(expect.objectContaining({ kind: 'udp', ours: expect.objectContaining({ type: 'reflexive' }) as unknown, theirs: expect.objectContaining({ address: expect.stringMatching(/^11\.0\.0\.12:/) as unknown }) as unknown }))
      expect(found.advice.flatMap(({ remedy }) => remedy ?? [])).toEqual(['classes', 'port_mapping', 'forward', 'ipv6', 'public_friend'])
      const text = await postern(near.dir, 'why', far.peerId)
      expect(text).toContain('symmetric: mapping address-and-port-dependent, filtering address-and-port-dependent, by netcheck')
      expect(text).toContain('symmetric: mapping by destination, it says so')
      expect(text).toContain('Port mapping on one of the two routers')
      process.stdout.write(`\n${text}\n`)
    })
  }, 120_000)

  it('tells the class of a peer that is connected from where it is seen', async () => {
    await pairHomes(['port', 'full'], async (near, far) => {
      let found = await whyOf(near, far.peerId)
      await until(async () => {
        found = await whyOf(near, far.peerId)
        return found.path?.kind === 'udp' && found.nat.theirs.from === 'seen'
      }, 'the session', 40_000)
      expect(found.nat).toMatchObject({ ours: { mapping: 'endpoint-independent' }, theirs: { mapping: 'endpoint-independent' }, outlook: 'plain' })
      expect(found.pairs[0]).toMatchObject({ kind: 'udp', result: 'in_use', theirs: { type: 'reflexive' } })
      expect(found.advice).toEqual([])
    })
  }, 120_000)
})
