import { beforeEach, describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../src/core/base/address.ts'
import { Nat, type NatModel } from '../../src/sim/nat.ts'
import { NatNetwork } from '../../src/sim/nat-network.ts'
import { perfectWire } from '../../src/sim/network.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { Scheduler } from '../../src/sim/scheduler.ts'
import type { StreamSide } from '../../src/sim/stream.ts'

const at = (text: string, port = 0): Uint8Array => encodeAddress(text, port)!
const SECOND = 1_000_000
const DELAY = 10_000
const masquerade: NatModel = { mapping: 'endpoint-independent', filtering: 'address-and-port-dependent', ports: 'kept', lifetime: 30 * SECOND }

/** Machines that note what they hear as `from: text`, on a net with homes. */
class Scene {
  readonly scheduler: Scheduler = new Scheduler()
  readonly random: SeededRandom = new SeededRandom(1)
  readonly network: NatNetwork = new NatNetwork(this.scheduler, this.random)
  readonly heard: string[] = []

  constructor() {
    this.network.setConditions({ ...perfectWire, delay: DELAY })
  }

  home(outside: string, hosts: readonly string[], model: NatModel, provider?: Nat): void {
    this.network.home(hosts.map((host) => at(host)), new Nat(model, at(outside), this.random.fork()), provider)
  }

  listen(host: string, port: number): void {
    const own = `${host}:${port}`
    this.network.bind(at(host, port), (from, datagram) => this.heard.push(`${own} < ${formatAddress(from)} ${new TextDecoder().decode(datagram)}`))
  }

  send(from: readonly [string, number], to: readonly [string, number], text = 'hi'): void {
    this.network.send(at(...from), at(...to), new TextEncoder().encode(text))
  }

  /** What was heard since the last time. */
  after(time = SECOND): string[] {
    this.scheduler.run(time)
    return this.heard.splice(0)
  }
}

let scene: Scene
beforeEach(() => { scene = new Scene() })

describe('datagrams through homes', () => {
  it('have the outside address of the last router, and are answered through all of them', () => {
    scene.home('100.64.1.2', ['10.1.0.2'], masquerade, new Nat({ ...masquerade, ports: 'next' }, at('11.0.0.11'), scene.random.fork()))
    for (const host of ['10.1.0.2', '11.0.0.2', '11.0.0.3']) scene.listen(host, 7000)
    scene.send(['10.1.0.2', 7000], ['11.0.0.2', 7000])
    expect(scene.after()).toEqual(['11.0.0.2:7000 < 11.0.0.11:50000 hi'])
    scene.send(['11.0.0.2', 7000], ['11.0.0.11', 50_000], 'back')
    scene.send(['11.0.0.3', 7000], ['11.0.0.11', 50_000], 'stranger')
    scene.send(['11.0.0.3', 7000], ['10.1.0.2', 7000], 'private')
    expect(scene.after()).toEqual(['10.1.0.2:7000 < 11.0.0.2:7000 back'])
    expect(scene.network.filtered).toBe(1)
  })

  it('are filtered when they arrive, not when they are sent', () => {
    scene.home('11.0.0.11', ['10.1.0.2'], masquerade)
    for (const host of ['10.1.0.2', '11.0.0.2']) scene.listen(host, 7000)
    scene.send(['11.0.0.2', 7000], ['11.0.0.11', 7000], 'early')
    scene.scheduler.run(DELAY / 2)
    scene.send(['10.1.0.2', 7000], ['11.0.0.2', 7000], 'door')
    expect(scene.after()).toEqual(['10.1.0.2:7000 < 11.0.0.2:7000 early', '11.0.0.2:7000 < 11.0.0.11:7000 door'])
  })

  it('stay in their home, or come back to it where the router turns them round', () => {
    scene.home('11.0.0.11', ['10.1.0.2', '10.1.0.3'], { ...masquerade, filtering: 'endpoint-independent', hairpin: true })
    scene.home('11.0.0.12', ['10.2.0.2', '10.2.0.3'], { ...masquerade, filtering: 'endpoint-independent' })
    for (const host of ['10.1.0.2', '10.1.0.3', '10.2.0.2', '10.2.0.3', '11.0.0.2']) scene.listen(host, 7000)
    for (const home of ['10.1.0', '10.2.0']) {
      scene.send([`${home}.3`, 7000], ['11.0.0.2', 7000])
    }
    scene.after()
    for (const home of ['1', '2']) {
      scene.send([`10.${home}.0.2`, 7000], [`10.${home}.0.3`, 7000], 'near')
      scene.send([`10.${home}.0.2`, 7000], [`11.0.0.1${home}`, 7000], 'round')
    }
    scene.send(['10.1.0.2', 7000], ['10.2.0.3', 7000], 'elsewhere')
    const heard = scene.after()
    expect(heard.filter((line) => line.endsWith('near'))).toEqual(['10.1.0.3:7000 < 10.1.0.2:7000 near', '10.2.0.3:7000 < 10.2.0.2:7000 near'])
    expect(heard.filter((line) => !line.endsWith('near'))).toEqual([expect.stringMatching(/^10\.1\.0\.3:7000 < 11\.0\.0\.11:\d+ round$/)])
  })

  it('find no way in by a mapping that carried nothing for its lifetime, nor where UDP is blocked', () => {
    scene.home('11.0.0.11', ['10.1.0.2'], masquerade)
    scene.home('11.0.0.12', ['10.2.0.2'], { ...masquerade, blocks: 'udp' })
    for (const host of ['10.1.0.2', '11.0.0.2']) scene.listen(host, 7000)
    scene.send(['10.2.0.2', 7000], ['11.0.0.2', 7000])
    scene.send(['10.1.0.2', 7000], ['11.0.0.2', 7000])
    expect(scene.after()).toHaveLength(1)
    for (const [pause, arrives] of [[28, 1], [28, 1], [31, 0]] as const) {
      scene.scheduler.run(pause * SECOND)
      scene.send(['11.0.0.2', 7000], ['11.0.0.11', 7000])
      expect(scene.after(), `after ${pause} s`).toHaveLength(arrives)
    }
  })
})

describe('connections through homes', () => {
  const outcomes: string[] = []
  const dial = (from: string, to: readonly [string, number]): (() => void) => scene.network.connect(at(from, 7000), at(...to), (side) => {
    outcomes.push(typeof side === 'string' ? `${from} ${side}` : `${from} at ${formatAddress(side.remote)}`)
  })
  beforeEach(() => { outcomes.length = 0 })

  it('are taken by who listens, refused where nobody does, and not heard of behind a router', () => {
    scene.home('11.0.0.11', ['10.1.0.2'], { ...masquerade, blocks: 'udp' })
    scene.home('11.0.0.12', ['10.2.0.2'], { ...masquerade, filtering: 'endpoint-independent' })
    const accepted: StreamSide[] = []
    for (const host of ['11.0.0.2', '10.2.0.2']) scene.network.listen(at(host, 7000), (side) => accepted.push(side))
    dial('10.1.0.2', ['11.0.0.2', 7000])
    dial('10.1.0.2', ['11.0.0.3', 7000])
    dial('10.1.0.2', ['11.0.0.12', 7000])
    scene.after(6 * SECOND)
    expect(accepted.map(({ remote }) => formatAddress(remote))).toEqual(['11.0.0.11:7000'])
    expect(outcomes).toEqual(['10.1.0.2 at 11.0.0.2:7000', '10.1.0.2 refused', '10.1.0.2 no_answer'])
  })

  it.each([0, 400_000])('are one when both sides dial, %i µs apart, through routers that let in nobody else', (apart) => {
    scene.home('11.0.0.11', ['10.1.0.2'], masquerade)
    scene.home('11.0.0.12', ['10.2.0.2'], masquerade)
    dial('10.1.0.2', ['11.0.0.12', 7000])
    scene.scheduler.run(apart)
    dial('10.2.0.2', ['11.0.0.11', 7000])
    scene.after(6 * SECOND)
    expect(outcomes.sort()).toEqual(['10.1.0.2 at 11.0.0.12:7000', '10.2.0.2 at 11.0.0.11:7000'])
  })

  it('called off are nobody\'s', () => {
    scene.network.listen(at('11.0.0.2', 7000), () => outcomes.push('accepted'))
    dial('11.0.0.3', ['11.0.0.2', 7000])()
    scene.after(6 * SECOND)
    expect(outcomes).toEqual([])
  })
})
