import { TransmitBatch, type LinkId, type PeerHandle } from '../../../src/core/endpoint/contract.ts'
import { bleAddressOf } from '../../../src/net/ble/addresses.ts'
import type { AdapterState } from '../../../src/net/ble/backend.ts'
import { BleDriver } from '../../../src/net/ble/ble.ts'
import type { BleHost, BleOptions } from '../../../src/net/ble/ble-contract.ts'
import type { TestAir, TestRadio } from '../../support/test-air.ts'
import { PARTY_SLAB, type Party } from '../conformance.ts'
import { TcpHost } from '../tcp-support.ts'
import { until } from '../udp-support.ts'

export class TestBleHost extends TcpHost implements BleHost {
  readonly around: { readonly peer: PeerHandle; readonly address: string | undefined }[] = []
  readonly health: { readonly state: AdapterState; readonly detail: string }[] = []

  nearby(peer: PeerHandle, address: Uint8Array | undefined): void {
    if (this.inCall) throw new Error('nearby was called from inside a call into the driver')
    this.around.push({ peer, address: address === undefined ? undefined : Buffer.from(address).toString('hex') })
  }

  adapter(state: AdapterState, detail: string): void {
    if (this.inCall) throw new Error('adapter was called from inside a call into the driver')
    this.health.push({ state, detail })
  }
}

export class BleNode {
  readonly host: TestBleHost = new TestBleHost()
  readonly radio: TestRadio
  readonly driver: BleDriver
  readonly batch: TransmitBatch = new TransmitBatch(1024)
  readonly slab: number

  constructor(air: TestAir, n: number, options: Partial<BleOptions> = {}) {
    this.radio = air.add(`c0:ff:ee:00:00:0${n}`)
    this.driver = new BleDriver(this.host, { backend: () => this.radio, mode: 'active', ...options })
    this.slab = this.host.arena.allocate(PARTY_SLAB)
    this.batch.reset(this.slab, PARTY_SLAB)
  }

  party(link: LinkId): Party {
    const { host, driver, batch, slab } = this
    return { host, driver, batch, slab, link, to: host.opens[link - 1]!.remote! }
  }
}

export async function nodeOn(air: TestAir, n: number, options: Partial<BleOptions> = {}): Promise<BleNode> {
  const node = new BleNode(air, n, options)
  await node.driver.start()
  return node
}

/** Both see each other, and a dials b; both confirm. */
export async function linked(a: BleNode, b: BleNode): Promise<void> {
  await until(() => a.driver.nearby().some(({ address }) => address === b.radio.address))
  const before = [a.host.opens.length, b.host.opens.length] as const
  if (a.driver.dial(bleAddressOf(b.radio.address), 7) !== 'dialing') throw new Error('the dial was not taken')
  await until(() => a.host.opens.length > before[0] && b.host.opens.length > before[1])
  a.driver.confirm(a.host.opens.length as LinkId)
  b.driver.confirm(b.host.opens.length as LinkId)
}
