import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { postern, posternJson, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const temporary = new TemporaryDirectory()
const here = temporary.join('here')
let near: TestDaemon
let far: TestDaemon

async function kindTo(peer: string): Promise<string | undefined> {
  const client = await near.client()
  const path = (await client.peers()).find(({ id }) => id === peer)?.path
  await client.close()
  return path?.split(' ')[0]
}

async function refused(...args: readonly string[]): Promise<{ readonly code: string; readonly message: string; readonly hint?: string }> {
  const { out, status } = await run('postern', ['--dir', here, '--json', 'peers', 'policy', far.peerId, ...args])
  expect(status).not.toBe(0)
  return readResult('error', out).error
}

beforeAll(async () => {
  near = await TestDaemon.start(here)
  far = await TestDaemon.start(temporary.join('there'))
  await pair(near, far)
  await until(async () => (await kindTo(far.peerId)) === 'udp')
})

afterAll(async () => {
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  temporary[Symbol.dispose]()
})

describe('postern peers policy', () => {
  it('shows what nobody configured', async () => {
    expect(await posternJson(here, 'peers', 'policy', far.peerId)).toEqual({ peer: far.peerId, policy: { never: [] }, from: 'default' })
  })

  it('moves the session that is up, by each of its words, and back', async () => {
    for (const words of [['--only', 'tcp'], ['--prefer', 'tcp'], ['--never', 'udp']]) {
      await postern(here, 'peers', 'policy', far.peerId, ...words)
      await until(async () => (await kindTo(far.peerId)) === 'tcp', `the move by ${words.join(' ')}`)
      // Both sides are on it: what the peer sends is taken too.
      await postern(here, 'ping', far.peerId, '-c', '3', '-i', '20ms')
      await postern(here, 'peers', 'policy', far.peerId, '--default')
      await until(async () => (await kindTo(far.peerId)) === 'udp', `the way back after ${words.join(' ')}`)
    }
  }, 60_000)

  it('is kept over a restart, and then the peer is dialed by it', async () => {
    expect(await posternJson(here, 'peers', 'policy', far.peerId, '--only', 'tcp')).toEqual({ peer: far.peerId, policy: { only: 'tcp', never: [] }, from: 'peer' })
    await near.stop('SIGKILL')
    await near.again()
    expect(await postern(here, 'peers', 'policy', far.peerId)).toBe(`${far.peerId}: only TCP (set for this peer).\n`)
    await until(async () => (await kindTo(far.peerId)) === 'tcp', 'a session over TCP')
    expect((await near.counters())['udp_datagrams_out'] ?? 0).toBe(0)
    await postern(here, 'peers', 'policy', far.peerId, '--default')
  }, 60_000)

  it('refuses what contradicts itself, and leaves all as it was', async () => {
    expect(await refused('--only', 'tcp', '--never', 'tcp')).toMatchObject({ code: 'params', message: expect.stringContaining('"only" must not be a kind that never lists') as unknown })
    expect(await refused('--never', 'udp', 'tcp', 'ble')).toMatchObject({ code: 'params' })
    // This machine has no Bluetooth, or at least no daemon of the tests uses it.
    expect(await refused('--only', 'ble')).toMatchObject({ code: 'policy' })
    expect(await refused('--prefer', 'pigeon')).toMatchObject({ code: 'params', hint: 'One of: udp, tcp, ble' })
    expect(await refused('--default', '--only', 'tcp')).toMatchObject({ code: 'params' })
    expect(await posternJson(here, 'peers', 'policy', far.peerId)).toMatchObject({ from: 'default' })
  })

  it('refuses to leave no way, and says what to do', async () => {
    await using lone = await TestDaemon.start(temporary.join('lone'), { toml: '[tcp]\nenabled = false\n' })
    await postern(lone.dir, 'peers', 'add', far.peerId)
    const { out } = await run('postern', ['--dir', lone.dir, '--json', 'peers', 'policy', far.peerId, '--never', 'udp'])
    expect(readResult('error', out).error).toMatchObject({ code: 'policy', hint: expect.stringContaining('[tcp] enabled = true') as unknown })
    expect(await posternJson(lone.dir, 'peers', 'policy', far.peerId, '--never', 'tcp')).toMatchObject({ from: 'peer' })
  })

  it('knows only peers of the roster', async () => {
    const stranger = `${near.peerId.slice(0, 50)}aa`
    const { out, status } = await run('postern', ['--dir', here, '--json', 'peers', 'policy', stranger, '--only', 'tcp'])
    expect([readResult('error', out).error.code, status]).toEqual(['unknown_peer', 1])
  })
})
