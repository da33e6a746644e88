import { describe, expect, it } from 'vitest'
import type { PeerWhyResult } from '../../src/client/client.ts'
import { Lab, whyNoFilters } from '../lab/namespaces.ts'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { postern, posternJson } from './support/program.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const skipped = whyNoFilters()
const NO_UDP = 'meta l4proto udp drop'

async function why(daemon: TestDaemon, peer: string): Promise<PeerWhyResult> {
  return (await posternJson(daemon.dir, 'why', peer)) as unknown as PeerWhyResult
}

/** The rules of its moves. */
function movesOf({ history }: PeerWhyResult): readonly (string | undefined)[] {
  return history.filter(({ what }) => what === 'move').map(({ reason }) => reason)
}

describe('postern why', () => {
  it('tells a peer that is gone from one that is there, and names what helps', async () => {
    using temporary = new TemporaryDirectory()
    await using near = await TestDaemon.start(temporary.join('near'))
    await using far = await TestDaemon.start(temporary.join('far'))
    await pair(near, far)
    await until(async () => (await why(near, far.peerId)).path?.kind === 'udp')
    const there = await why(near, far.peerId)
    expect(there).toMatchObject({ state: 'connected', path: { kind: 'udp', rule: 'first' }, policy: { from: 'default' }, advice: [] })
    expect(await postern(near.dir, 'why', far.peerId)).toContain(`${far.peerId.slice(0, 8)} is reached by udp 127.0.0.1:${far.udpPort} for `)

    await far.stop('SIGKILL')
    const client = await near.client()
    await client.disconnectPeer(far.peerId)
    await expect(client.connectPeer(far.peerId, { timeoutMs: 3000 })).rejects.toMatchObject({ code: 'unreachable' })
    const gone = await why(near, far.peerId)
    expect(gone.path).toBe(undefined)
    expect(gone.attempts).toContainEqual(expect.objectContaining({ kind: 'tcp', address: `127.0.0.1:${far.udpPort}`, result: 'refused' }))
    expect(gone.advice[0]!.text).toContain('no Postern daemon listens there')
    expect(await postern(near.dir, 'why', far.peerId)).toContain('refused: nobody listens there')
  }, 60_000)

  it('shows the policy, and what it forbids', async () => {
    using temporary = new TemporaryDirectory()
    await using near = await TestDaemon.start(temporary.join('near'), { toml: '[path]\nnever = ["tcp"]\n' })
    await using far = await TestDaemon.start(temporary.join('far'))
    await pair(near, far)
    expect((await why(near, far.peerId)).policy).toEqual({ never: ['tcp'], from: 'config' })
    await postern(near.dir, 'peers', 'policy', far.peerId, '--only', 'tcp')
    // Both sides may have dialed: of two connections they agree on one, and the rule of the last move is another then.
    let moved = await why(near, far.peerId)
    await until(async () => {
      moved = await why(near, far.peerId)
      return moved.path?.kind === 'tcp'
    }, 'TCP', 30_000)
    expect(movesOf(moved)).toContain('policy')
    expect(moved).toMatchObject({ path: { kind: 'tcp' }, policy: { only: 'tcp', from: 'peer' } })
    expect(moved.history.map(({ what }) => what)).toEqual(expect.arrayContaining(['policy', 'move']))
    expect(moved.advice[0]).toMatchObject({ command: `postern peers policy ${far.peerId.slice(0, 8)} --default` })
  }, 60_000)
})

describe.skipIf(skipped !== undefined)(`postern why in a network without UDP${skipped === undefined ? '' : ` (skipped: ${skipped})`}`, () => {
  it('names UDP that the network swallows, and the machine that forbids it', async () => {
    using lab = new Lab(2)
    using temporary = new TemporaryDirectory()
    const [here, there] = lab.machines
    await using a = await TestDaemon.start(temporary.join('a'), { machine: here! })
    await using b = await TestDaemon.start(temporary.join('b'), { machine: there! })
    await pair(a, b)
    await until(async () => (await why(a, b.peerId)).path?.kind === 'udp')
    there!.filter(`iifname "eth0" ${NO_UDP}`)
    const client = await a.client()
    await until(async () => {
      await client.ping(b.peerId).catch(() => undefined)
      return (await why(a, b.peerId)).path?.kind === 'tcp'
    }, 'the move to TCP', 30_000)
    const swallowed = await why(a, b.peerId)
    // Which of the two notices first, and is followed by the other, is the machine's business; of two connections they agree on one afterwards.
    expect(movesOf(swallowed).some((rule) => rule === 'black_hole' || rule === 'migrated')).toBe(true)
    expect(swallowed.history.map(({ what }) => what)).toEqual(expect.arrayContaining(['doubt', 'move']))
    // The connection of the one that was first leads to the other's address, which is not dialed once more.
    const both = [...swallowed.history, ...(await why(b, a.peerId)).history]
    expect(both.map(({ what }) => what)).toContain('dial')
    expect(swallowed.advice[0]!.text).toContain('UDP to the peer does not get through')

    here!.filter(NO_UDP)
    await until(async () => {
      const { advice, probes } = await why(a, b.peerId)
      return probes.length > 0 && advice[0]?.text.startsWith('This machine does not let UDP go') === true
    }, 'the refusal', 40_000)
  }, 120_000)
})
