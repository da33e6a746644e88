/**
 * What a stranger's radio can do to the driver before anybody is authenticated (issue 6, "Bad input"), with the clock played. In every scene an honest node
 * has a link all the while: it keeps it, and what it sends arrives. Each attack is seen in the counter that its test names.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { toInstant, type Instant } from '../../../src/core/base/time.ts'
import { decodeBleValue, encodeHello, encodeSegment } from '../../../src/core/ble/values.ts'
import type { LinkId, PeerHandle } from '../../../src/core/endpoint/contract.ts'
import { bleAddressOf } from '../../../src/net/ble/addresses.ts'
import { MTU_MAX, MTU_MIN, type BackendEvent } from '../../../src/net/ble/backend.ts'
import type { BleSystem } from '../../../src/net/ble/ble-contract.ts'
import { TestAir } from '../../support/test-air.ts'
import { turn, until } from '../udp-support.ts'
import { linked, nodeOn, type BleNode } from './ble-support.ts'

const NONCE = new Uint8Array(8).fill(0x4e)
const hello = encodeHello(1200, 16, NONCE)

/** Time that stands still until it is told to go on. */
class Clock implements BleSystem {
  #now = 1_000_000
  readonly #timers = new Map<object, { readonly at: number; readonly run: () => void }>()

  now(): Instant {
    return toInstant(this.#now)
  }

  setTimeout(run: () => void, milliseconds: number): unknown {
    const handle = {}
    this.#timers.set(handle, { at: this.#now + milliseconds * 1000, run })
    return handle
  }

  clearTimeout(handle: unknown): void {
    this.#timers.delete(handle as object)
  }

  soon(run: () => void): void {
    setImmediate(run)
  }

  random(): number {
    return 0.5
  }

  /** Lets everything that is under way come to rest. */
  async settle(): Promise<void> {
    for (let n = 0; n < 12; n++) await turn()
  }

  async advance(seconds: number): Promise<void> {
    const end = this.#now + seconds * 1_000_000
    await this.settle()
    for (;;) {
      const [handle, next] = [...this.#timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? []
      if (handle === undefined || next === undefined || next.at > end) break
      this.#now = Math.max(this.#now, next.at)
      this.#timers.delete(handle)
      next.run()
      await this.settle()
    }
    this.#now = end
    await this.settle()
  }
}

class Scene {
  readonly air: TestAir = new TestAir()
  readonly clock: Clock = new Clock()
  readonly nodes: BleNode[] = []

  async node(n: number): Promise<BleNode> {
    const node = await nodeOn(this.air, n, { system: this.clock })
    this.nodes.push(node)
    return node
  }

  /** b, and an honest a that has a link with it. */
  async two(): Promise<readonly [BleNode, BleNode]> {
    const [a, b] = [await this.node(1), await this.node(2)]
    await linked(a, b)
    return [a, b]
  }

  stat(node: BleNode, name: string): number {
    return node.driver.stats()[name]!
  }

  /** A stranger at this address; what it hears and says is the test's. */
  knock(b: BleNode, address: string, mtu = 185): Stranger {
    return new Stranger(b, b.radio.knock(address, mtu))
  }

  async peace(a: BleNode, b: BleNode): Promise<void> {
    const { count } = b.host
    send(a, 1 as LinkId, 700)
    await this.clock.settle()
    expect(b.host.count).toBe(count + 1)
    expect([a.host.ends(1), b.host.ends(1)]).toEqual([[], []])
  }
}

class Stranger {
  readonly link: number
  readonly #b: BleNode

  constructor(b: BleNode, link: number) {
    this.#b = b
    this.link = link
  }

  says(...values: readonly Uint8Array[]): void {
    for (const value of values) this.#b.radio.say({ kind: 'received', link: this.link, value })
  }

  does(event: Extract<BackendEvent, { kind: 'mtu' | 'closed' }>['kind'], mtu = 0): void {
    this.#b.radio.say(event === 'mtu' ? { kind: 'mtu', link: this.link, mtu } : { kind: 'closed', link: this.link, reason: 'gone' })
  }

  /** Values that b gave its controller for it. */
  get heard(): readonly Uint8Array[] {
    return this.#b.radio.commands.flatMap((command) => command.kind === 'send' && command.link === this.link ? [command.value] : [])
  }

  get isGone(): boolean {
    return this.#b.radio.commands.some((command) => command.kind === 'disconnect' && command.link === this.link)
  }

  /** b's controller has sent what it was given. */
  sent(count: number): void {
    this.#b.radio.say({ kind: 'sent', link: this.link, count })
  }
}

function send(from: BleNode, link: LinkId, length: number): void {
  const { batch, slab } = from.party(link)
  batch.reset(slab, length)
  batch.count = 1
  batch.link[0] = link
  batch.offset[0] = slab
  batch.length[0] = batch.segmentSize[0] = length
  from.driver.send(batch, () => undefined)
}

let scene = new Scene()
afterEach(async () => {
  const { nodes, clock } = scene
  scene = new Scene()
  for (const { driver } of nodes) {
    const closed = driver.close()
    await clock.advance(2)
    await closed
  }
})

describe('a stranger that', () => {
  test('says nothing is gone after 5 s (ble_end_hello_timeout), one that goes no further than HELLO after 10 s (ble_end_confirm_timeout)', async () => {
    const [a, b] = await scene.two()
    const [silent, polite] = [scene.knock(b, 'silent'), scene.knock(b, 'polite')]
    polite.says(hello)
    await scene.clock.settle()
    for (const one of [silent, polite]) one.sent(1)
    await scene.clock.advance(4.9)
    expect([silent.isGone, polite.isGone]).toEqual([false, false])
    await scene.clock.advance(1.2)
    expect([silent.isGone, polite.isGone, scene.stat(b, 'ble_end_hello_timeout')]).toEqual([true, false, 1])
    await scene.clock.advance(5)
    expect([polite.isGone, scene.stat(b, 'ble_end_confirm_timeout')]).toEqual([true, 1])
    await scene.peace(a, b)
    expect(b.driver.links()).toHaveLength(1)
  })

  test('floods is ended by the first value that is none (ble_end_malformed) or beyond its credit (ble_end_flow), and costs nothing after it', async () => {
    const [a, b] = await scene.two()
    const garbage = scene.knock(b, 'garbage')
    garbage.says(...Array.from({ length: 2000 }, (_, n) => new Uint8Array(180).fill(0x83 + n % 100)))
    await scene.clock.advance(2)
    expect([garbage.isGone, scene.stat(b, 'ble_end_malformed')]).toEqual([true, 1])
    const flood = scene.knock(b, 'flood')
    b.driver.pause(1 as LinkId)
    flood.says(hello)
    // Whole datagrams, one value each: more than may be under way before they are taken.
    const values = Array.from({ length: 200 }, (_, n) => encodeSegment(new Uint8Array(20), 0, n, 180))
    flood.says(...values)
    await scene.clock.advance(2)
    expect([flood.isGone, scene.stat(b, 'ble_end_flow') + scene.stat(b, 'ble_end_confirm_timeout')]).toEqual([true, 1])
    b.driver.resume(1 as LinkId)
    await scene.peace(a, b)
  })

  test('begins datagrams for ever has one buffer and one of its datagrams lost each time (ble_dropped_datagrams), and 10 s', async () => {
    const [a, b] = await scene.two()
    const stranger = scene.knock(b, 'for ever')
    stranger.says(hello)
    let n = 0
    for (let second = 0; second < 9; second++) {
      stranger.says(encodeSegment(new Uint8Array(1200), 0, n++, 180))
      await scene.clock.advance(1)
      stranger.sent(9)
    }
    expect([stranger.isGone, b.host.count]).toEqual([false, 0])
    await scene.clock.advance(2.1)
    expect([stranger.isGone, scene.stat(b, 'ble_end_confirm_timeout'), scene.stat(b, 'ble_dropped_datagrams')]).toEqual([true, 1, n - 1])
    await scene.peace(a, b)
  })

  test('lies about sizes in HELLO is told so (ble_end_hello), and one that changes the MTU at every value gets values that fit', async () => {
    const [a, b] = await scene.two()
    const lies: readonly (readonly [number, number])[] = [[0, 16], [511, 16], [1201, 16], [65_535, 16], [1200, 0]]
    for (const [i, [datagramMax, credits]] of lies.entries()) {
      const liar = scene.knock(b, `liar ${i}`)
      liar.says(encodeHello(datagramMax, credits, NONCE))
      await scene.clock.settle()
      liar.sent(2)
      await scene.clock.advance(1.1)
      expect([liar.isGone, scene.stat(b, 'ble_end_hello')]).toEqual([true, i + 1])
      expect(decodeBleValue(liar.heard.at(-1)!)).toEqual({ kind: 'bye', code: 'protocol' })
    }
    scene.air.mtu = MTU_MAX
    const wavering = scene.knock(b, 'wavering', MTU_MAX)
    wavering.says(encodeHello(1200, 65_535, NONCE))
    await scene.clock.settle()
    wavering.sent(1)
    const link = b.host.opens.length as LinkId
    send(b, link, 1200)
    const mtus = [MTU_MIN, MTU_MAX, 69, MTU_MIN + 1, 185]
    for (let n = 0; n < 100; n++) {
      const mtu = mtus[n % mtus.length]!
      wavering.does('mtu', mtu)
      await scene.clock.settle()
      const before = wavering.heard.length
      wavering.sent(1)
      await scene.clock.settle()
      for (const value of wavering.heard.slice(before)) expect(value.length).toBeLessThanOrEqual(mtu - 3)
    }
    // However much credit it gives: no more is under way than sequence numbers tell apart.
    expect(wavering.heard.filter((value) => decodeBleValue(value).kind === 'data').length).toBeLessThanOrEqual(31)
    wavering.does('closed')
    await scene.peace(a, b)
  })

  test('takes nothing of what it is sent is gone after 5 s (ble_end_credit_timeout), and its queue with it', async () => {
    const [a, b] = await scene.two()
    const stranger = scene.knock(b, 'no credit')
    stranger.says(encodeHello(1200, 1, NONCE))
    await scene.clock.settle()
    stranger.sent(1)
    send(b, b.host.opens.length as LinkId, 1200)
    await scene.clock.settle()
    stranger.sent(1)
    await scene.peace(a, b)
    await scene.clock.advance(6.1)
    expect([stranger.isGone, scene.stat(b, 'ble_end_credit_timeout')]).toEqual([true, 1])
    expect(scene.stat(b, 'ble_unsent_lost_bytes')).toBeGreaterThanOrEqual(0)
    await scene.peace(a, b)
  })

  test('comes with ever new addresses fills four places (ble_refused), which who comes later has after 2 s (ble_end_evicted); one that comes and goes rests', async () => {
    const [a, b] = await scene.two()
    for (let n = 0; n < 300; n++) scene.knock(b, `crowd ${n}`)
    await scene.clock.settle()
    // a has one of the four links that others may dial.
    expect(scene.stat(b, 'ble_refused')).toBe(297)
    await scene.clock.advance(2.1)
    const c = await scene.node(3)
    await linked(c, b)
    expect(scene.stat(b, 'ble_end_evicted')).toBe(1)
    await scene.clock.advance(10)
    await scene.peace(a, b)
    expect(b.driver.links()).toHaveLength(2)
    const before = scene.stat(b, 'ble_refused')
    for (let n = 0; n < 40; n++) {
      scene.knock(b, 'flapper').does('closed')
      await scene.clock.settle()
    }
    expect([scene.stat(b, 'ble_refused') - before, scene.stat(b, 'ble_end_lost')]).toEqual([36, 4])
    await scene.peace(a, b)
  })

  test('shows a friend\'s hint from ever new addresses, or a hundred thousand hints: 256 devices are kept, and the friend stays where it is', async () => {
    const [a, b] = await scene.two()
    const friend = 7 as PeerHandle
    const hint = Uint8Array.of(1, 2, 3, 4, 5, 6)
    let questions = 0
    b.driver.setFriends((heard) => {
      questions++
      return Buffer.compare(heard, hint) === 0 ? friend : undefined
    })
    b.radio.say({ kind: 'seen', address: 'c0:ff:ee:00:00:77', rssi: -50, hint })
    await until(() => b.host.around.length === 1)
    for (let n = 0; n < 20_000; n++) {
      b.radio.say({ kind: 'seen', address: `replay ${n}`, rssi: -20, hint: n % 10 === 0 ? hint : Uint8Array.of(9, 9, n, n >> 8, 0, 0) })
      if (n % 2000 === 0) await turn()
    }
    await until(() => scene.stat(b, 'ble_advertisements') >= 20_001)
    expect(b.driver.nearby().length).toBeLessThanOrEqual(256)
    expect(b.driver.nearby().filter(({ peer }) => peer === friend).length).toBeLessThanOrEqual(4)
    // One look-up for an advertisement, and as many more as there are devices when the friends change.
    expect(questions).toBeLessThan(20_001 + 600)
    expect(b.host.around.filter(({ address }) => address === undefined)).toEqual([])
    await scene.peace(a, b)
  })
})

describe('a link that ends after any value', () => {
  test('of HELLO, datagrams, credit and BYE, on either side: nothing is kept, and the next dial works (ble_end_lost)', async () => {
    const [a, b] = await scene.two()
    for (let step = 0; step < 14; step++) {
      const [c, d] = [await scene.node(3), await scene.node(4)]
      const [from, to] = step % 2 === 0 ? [c, d] : [d, c]
      await until(() => from.driver.nearby().some(({ address }) => address === to.radio.address))
      let values = 0
      let lost = false
      for (const node of [from, to]) {
        const command = node.radio.command.bind(node.radio)
        node.radio.command = (one): void => {
          command(one)
          if (one.kind !== 'send' || lost || values++ !== step) return
          lost = true
          from.radio.lose()
        }
      }
      from.driver.dial(bleAddressOf(to.radio.address), 7)
      await scene.clock.settle()
      if (from.host.opens.length > 0) {
        from.driver.confirm(from.host.opens.length as LinkId)
        send(from, from.host.opens.length as LinkId, 1200)
        await scene.clock.settle()
        from.driver.closeLink(from.host.opens.length as LinkId)
      }
      await scene.clock.advance(12)
      // It was over before; the next one is not to break.
      lost = true
      expect([step, from.driver.links(), to.driver.links(), from.radio.links.size, to.radio.links.size]).toEqual([step, [], [], 0, 0])
      for (const node of [from, to]) expect(node.host.changes.filter(({ state }) => state === 'failed' || state === 'closed').length, `step ${step}`).toBe(node.host.opens.length)
      expect(from.host.dialFailures.length + from.host.opens.length, `step ${step}`).toBe(1)
      await linked(from, to)
      await scene.peace(a, b)
      for (const node of [c, d]) {
        scene.nodes.splice(scene.nodes.indexOf(node), 1)
        const closed = node.driver.close()
        await scene.clock.advance(2)
        await closed
        scene.air.radios.splice(scene.air.radios.indexOf(node.radio), 1)
      }
    }
  })
})
