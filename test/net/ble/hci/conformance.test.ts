import { TransmitBatch, type LinkId } from '../../../../src/core/endpoint/contract.ts'
import { packetType } from '../../../../src/core/wire/hci.ts'
import { bleAddressOf } from '../../../../src/net/ble/addresses.ts'
import { BleDriver } from '../../../../src/net/ble/ble.ts'
import { HciStack } from '../../../../src/net/ble/hci/stack.ts'
import { hciTime, type HciTransport } from '../../../../src/net/ble/hci/transport.ts'
import type { VirtualAir } from '../../../../src/sim/air/air.ts'
import type { AirController } from '../../../../src/sim/air/controller.ts'
import { describeTransport, PARTY_SLAB, type Medium, type Party } from '../../conformance.ts'
import { until } from '../../udp-support.ts'
import { TestBleHost } from '../ble-support.ts'
import { inProcess, testRoom } from './nodes.ts'

const FIRST = 1 as LinkId
/** Patience only. */
const LINKED_MS = 60_000

/** The whole of Bluetooth but the child process: driver, noble and bleno behind the multiplexer, and an emulated controller that can be made to hold its data. */
class HciNode {
  readonly host: TestBleHost = new TestBleHost()
  readonly driver: BleDriver
  readonly batch: TransmitBatch = new TransmitBatch(1024)
  readonly slab: number
  controller!: AirController
  /** Data on its way into the controller, while it takes none. */
  #held: Uint8Array[] | undefined

  constructor(air: VirtualAir) {
    this.slab = this.host.arena.allocate(PARTY_SLAB)
    this.batch.reset(this.slab, PARTY_SLAB)
    const open = (): Promise<HciTransport> => {
      this.controller = air.add()!
      const way = inProcess(this.controller)
      const write = (packet: Uint8Array): void => {
        if (this.#held !== undefined && packet[0] === packetType.acl) this.#held.push(packet)
        else this.controller.write(packet)
      }
      return Promise.resolve({ start: (packet, closed) => way.start(packet, closed), close: () => way.close(), write })
    }
    this.driver = new BleDriver(this.host, {
      mode: 'active',
      backend: () => {
        const stack = new HciStack({ name: 'virtual', time: hciTime, slotCount: 1, open })
        void stack.begin()
        return stack
      },
    })
  }

  hold(): void {
    this.#held = []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const packet of held) this.controller.write(packet)
  }

  party(): Party {
    const { host, driver, batch, slab } = this
    return { host, driver, batch, slab, link: FIRST, to: host.opens[0]!.remote! }
  }
}

function bleOverHci(): Medium {
  const air = testRoom()
  const nodes: HciNode[] = []
  const two = async (): Promise<readonly [HciNode, HciNode]> => {
    const [a, b] = [new HciNode(air), new HciNode(air)]
    nodes.push(a, b)
    await a.driver.start()
    await b.driver.start()
    await until(() => a.driver.nearby().length === 1, LINKED_MS)
    a.driver.dial(bleAddressOf(a.driver.nearby()[0]!.address), 7)
    await until(() => a.host.opens.length === 1 && b.host.opens.length === 1, LINKED_MS)
    a.driver.confirm(FIRST)
    b.driver.confirm(FIRST)
    return [a, b]
  }
  return {
    pair: async () => {
      const [a, b] = await two()
      return { a: a.party(), b: b.party() }
    },
    stalled: async () => {
      const [a] = await two()
      a.hold()
      return { party: a.party(), bytes: 100_000, release: () => a.release() }
    },
    fragile: async () => {
      const [a] = await two()
      return { party: a.party(), snap: () => a.controller.cutLinks() }
    },
    close: async () => {
      for (const node of nodes) await node.driver.close()
    },
  }
}

describeTransport('Bluetooth by noble and bleno on the virtual air', { kind: 'ble', reliable: true, datagramMin: 1, datagramMax: 1200, pauses: true, lingers: true }, bleOverHci)
