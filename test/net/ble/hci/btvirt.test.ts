import { describe, expect, test } from 'vitest'
import { HciStack } from '../../../../src/net/ble/hci/stack.ts'
import { hciTime, openH4Socket } from '../../../../src/net/ble/hci/transport.ts'
import { Btvirt, whyNoBtvirt } from './btvirt.ts'
import { connect, Node } from './nodes.ts'

const why = whyNoBtvirt()
const hint = Uint8Array.of(1, 2, 3, 4, 5, 6)

/** Two nodes on controllers that somebody else has written; both know what the other one shows. */
class Scene implements AsyncDisposable {
  readonly nodes: Node[] = []
  emulator!: Btvirt

  async open(): Promise<[Node, Node]> {
    this.emulator = await Btvirt.start()
    for (let i = 0; i < 2; i++) {
      const stack = new HciStack({ name: 'hci', time: hciTime, slotCount: 1, open: () => openH4Socket(this.emulator.socket) })
      this.nodes.push(await Node.begin(stack))
    }
    return [this.nodes[0]!, this.nodes[1]!]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { stack } of this.nodes) await stack.close()
    await this.emulator[Symbol.asyncDispose]()
  }
}

async function opened(central: Node, peripheral: Node): ReturnType<typeof connect> {
  peripheral.show(hint)
  central.listen()
  const { address } = await central.has('seen', ({ hint: heard }) => heard !== undefined && Buffer.from(heard).equals(hint))
  return await connect(central, peripheral, address)
}

const bytes = (n: number, of: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => i + of)

describe.skipIf(why !== undefined)(`noble and bleno over BlueZ's emulator${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  test('one hears the hint of the other, and values of every size go both ways in order', async () => {
    await using scene = new Scene()
    const [a, b] = await scene.open()
    const link = await opened(a, b)
    expect(link.mtu).toBe(513)
    const sizes = [1, 20, 244, 509, 510]
    for (const [from, to, number, other] of [[a, b, link.central, link.peripheral], [b, a, link.peripheral, link.central]] as const) {
      for (const [i, size] of sizes.entries()) {
        const sent = from.next('sent')
        from.send(number, bytes(size, i))
        await sent
      }
      await to.has('received', ({ value }) => value.length === 510)
      expect(to.told('received')).toEqual(sizes.map((size, i) => ({ kind: 'received', link: other, value: bytes(size, i) })))
    }
  }, 60_000)

  test('both hear of an end, whoever made it, and the roles can change', async () => {
    await using scene = new Scene()
    const [a, b] = await scene.open()
    const first = await opened(a, b)
    b.command({ kind: 'disconnect', link: first.peripheral })
    expect(await b.has('closed')).toMatchObject({ link: first.peripheral, reason: 'closed here' })
    expect(await a.has('closed')).toMatchObject({ link: first.central, reason: 'closed by the other' })
    b.command({ kind: 'advertise', on: false, hint: undefined, pace: 'fast' })
    a.command({ kind: 'scan', on: false, pace: 'fast' })
    const second = await opened(b, a)
    b.send(second.central, bytes(300, 9))
    expect((await a.has('received')).value).toEqual(bytes(300, 9))
  }, 60_000)

  test('a controller that is gone ends the links, and is waited for', async () => {
    await using scene = new Scene()
    const [a, b] = await scene.open()
    const link = await opened(a, b)
    await scene.emulator[Symbol.asyncDispose]()
    expect(await a.has('closed')).toMatchObject({ link: link.central })
    expect(await b.has('closed')).toMatchObject({ link: link.peripheral })
    expect((await a.has('adapter', ({ state }) => state !== 'on')).state).toMatch(/resetting|absent/)
  }, 60_000)
})
