import { describe, expect, it } from 'vitest'
import { TestDaemon, until } from '../e2e/support/daemon.ts'
import { TemporaryDirectory } from '../e2e/support/temporary.ts'
import { StunServer } from '../support/stun-server.ts'
import { whyNoFilters } from './namespaces.ts'
import type { NatKind } from './nat-rules.ts'
import { NatLab, PUBLIC_HOSTS } from './nat.ts'
import { pathTo } from './talk.ts'

const why = whyNoFilters()
/** The dial asks after 1.5 s; half of all guessed meetings take less than 5 s after that, one in a thousand longer than a round. */
const PATIENCE_MS = 100_000

/** Two homes that know each other's id and nothing else, and a friend of both with a public address. */
async function introduce(kinds: readonly [NatKind, NatKind]): Promise<{ readonly path: string; readonly ms: number }> {
  using temporary = new TemporaryDirectory()
  using lab = new NatLab([...kinds, 'none' as const].map((kind) => ({ kind })))
  await using server = await StunServer.start(['--host', PUBLIC_HOSTS[0], '--other', PUBLIC_HOSTS[1], '--port', '4478', '--alternate', '4479'], lab.server.prefix)
  expect(server).toBeDefined()
  const start = (i: number): Promise<TestDaemon> => TestDaemon.start(temporary.join(`${i}`), {
    machine: lab.sides[i]!.machines[0]!, env: { POSTERN_STUN: '1' }, toml: `[stun]\nservers = ["${PUBLIC_HOSTS[0]}:4478"]\nportal = ""\n[portmap]\nenabled = false\n`,
  })
  await using near = await start(0)
  await using far = await start(1)
  await using friend = await start(2)
  const [here, there, both] = await Promise.all([near, far, friend].map((daemon) => daemon.client()))
  for (const one of [here!, there!]) {
    await one.invites.join((await both!.invites.create()).link)
    await until(async () => (await pathTo(one, friend.peerId)) !== undefined, 'the friend', 20_000)
  }
  await there!.addPeer(near.peerId)
  await here!.addPeer(far.peerId)
  const begun = performance.now()
  await here!.connectPeer(far.peerId, { timeoutMs: PATIENCE_MS }).catch(() => undefined)
  await until(async () => (await pathTo(here!, far.peerId)) !== undefined, 'the session', PATIENCE_MS).catch(() => undefined)
  return { path: await pathTo(here!, far.peerId) ?? 'none', ms: Math.round(performance.now() - begun) }
}

describe.skipIf(why !== undefined)(`two homes of which one has a symmetric router are introduced by a friend${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it.each([['sym', 'port'], ['port', 'sym']] as const)('%s asks for %s', async (near, far) => {
    const { path, ms } = await introduce([near, far])
    process.stdout.write(`introduced, ${near} asks for ${far}: ${path} after ${(ms / 1000).toFixed(1)} s\n`)
    expect(path).toMatch(/^udp /)
  })
})
