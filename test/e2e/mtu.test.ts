import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { Channel, Client } from '../../src/client/client.ts'
import { whyNoWire, Wire } from '../lab/wire.ts'
import { addon } from '../support/addon.ts'
import { TestDaemon, pair, until } from './support/daemon.ts'
import { TemporaryDirectory } from './support/temporary.ts'

const why = addon === undefined ? 'the native addon is not built: run "npm run build:native"' : whyNoWire()
const MESSAGE = 60_000
/** An IPv4 and a UDP header. */
const HEADERS = 28

async function peerOf(client: Client, id: string): Promise<{ readonly mtu?: number; readonly path?: string } | undefined> {
  return (await client.peers()).find((peer) => peer.id === id)
}

describe.skipIf(why !== undefined)(`the MTU of a real path${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('is found; when it shrinks in mid-transfer and no ICMP says so, less is sent, on the same path, and nothing is lost', async () => {
    using temporary = new TemporaryDirectory()
    await using wire = await Wire.open(fileURLToPath(new URL('../lab', import.meta.url)))
    await wire.impair({ delayMs: 5 })
    const [machineA, machineB] = wire.machines
    await using a = await TestDaemon.start(temporary.join('a'), { machine: machineA })
    await using b = await TestDaemon.start(temporary.join('b'), { machine: machineB })
    await pair(a, b)
    const [from, to] = [await a.client({ app: 'bulk' }), await b.client({ app: 'bulk' })]
    // The interfaces take 1500, so the next rung fails at the sender itself.
    await until(async () => (await peerOf(from, b.peerId))?.mtu === 1437 && (await peerOf(to, a.peerId))?.mtu === 1437)

    await using listener = await to.listen('bulk')
    const accepted = (async (): Promise<Channel> => {
      for await (const incoming of listener) return await incoming.accept()
      throw new Error('the listener ended')
    })()
    const channel = await from.openChannel(b.peerId, { app: 'bulk' })
    const got: number[] = []
    const receiving = (async (): Promise<void> => {
      for await (const { bytes } of await accepted) got.push(bytes.length === MESSAGE && bytes[MESSAGE - 1] === bytes[0] ? bytes[0]! : -1)
    })().catch(() => undefined)
    let sent = 0
    const send = async (): Promise<void> => { await channel.send(new Uint8Array(MESSAGE).fill(sent++ % 256)) }
    while (sent < 50) await send()
    await wire.impair({ mtu: 1300 + HEADERS })
    while ((await peerOf(from, b.peerId))?.mtu !== 1181) await send()
    for (let i = 0; i < 20; i++) await send()
    await until(() => got.length === sent)

    expect(got).toEqual(Array.from({ length: sent }, (_, i) => i % 256))
    expect((await a.counters())['mtu_black_holes']).toBe(1)
    expect((await peerOf(from, b.peerId))?.path).toMatch(/^udp /)
    expect(a.log).toMatch(/WARN +path MTU .*from=1437 +to=1181 +cause=black_hole/)
    await channel.close()
    await receiving
  }, 120_000)
})
