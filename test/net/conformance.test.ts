import type { SocketOptions } from 'node:dgram'
import { constants as osConstants } from 'node:os'
import { ADDRESS_SIZE, encodeAddress } from '../../src/core/base/address.ts'
import { encodeBleAddress } from '../../src/core/base/ble-address.ts'
import { TransmitBatch, type LinkId } from '../../src/core/endpoint/contract.ts'
import { nativeTcpSystem } from '../../src/net/tcp-native.ts'
import { tcpSystem, type TcpSystem } from '../../src/net/tcp-system.ts'
import { nativeEngine } from '../../src/net/udp-native.ts'
import type { UdpEngine } from '../../src/net/udp-socket.ts'
import type { UdpSystem } from '../../src/net/udp-system.ts'
import { perfectWire, SimNetwork } from '../../src/sim/network.ts'
import { SeededRandom } from '../../src/sim/random.ts'
import { Scheduler } from '../../src/sim/scheduler.ts'
import { SimAir, SimBle, usualAir } from '../../src/sim/sim-ble.ts'
import { SimTcp } from '../../src/sim/sim-tcp.ts'
import { SimUdp } from '../../src/sim/sim-udp.ts'
import { addon } from '../support/addon.ts'
import { TestAir } from '../support/test-air.ts'
import { linked, nodeOn, type BleNode } from './ble/ble-support.ts'
import { describeTransport, PARTY_SLAB, type Medium, type Party } from './conformance.ts'
import { link, openNode as openTcp, playedLink, PREFACE, rawDial, settle, TcpHost, type TcpNode } from './tcp-support.ts'
import { FakeUdpAddon } from './fake-udp-addon.ts'
import { FakeSocket, openNode as openUdp, until, type Node as UdpNode } from './udp-support.ts'

const FIRST = 1 as LinkId
const LOOPBACK = ['127.0.0.1']

interface SimParty extends Omit<Party, 'link' | 'to' | 'driver'> {
  readonly driver: SimUdp | SimTcp
  readonly address: Uint8Array
}

/** A machine with this one socket. */
function machine(socket: FakeSocket): UdpSystem {
  return { createSocket: (_options: SocketOptions) => socket.asSocket, mapsIPv4: () => 'yes', kernelDrops: () => undefined }
}

function udp(): Medium {
  const nodes: UdpNode[] = []
  const sockets: FakeSocket[] = []
  const party = ({ host, driver, batch, slab }: UdpNode, port: number): Party => {
    batch.reset(slab, PARTY_SLAB)
    return { host, driver, batch, slab, link: FIRST, to: encodeAddress('127.0.0.1', port)! }
  }
  const fake = async (): Promise<{ node: UdpNode; socket: FakeSocket }> => {
    const socket = new FakeSocket()
    const node = await openUdp({ system: machine(socket) })
    nodes.push(node)
    sockets.push(socket)
    return { node, socket }
  }
  return {
    pair: async () => {
      const [a, b] = [await openUdp({ bind: LOOPBACK }), await openUdp({ bind: LOOPBACK })]
      nodes.push(a, b)
      return { a: party(a, b.driver.port), b: party(b, a.driver.port) }
    },
    stalled: async () => {
      const { node, socket } = await fake()
      return { party: party(node, 7000), bytes: 300_000, release: () => socket.complete(socket.sends.length) }
    },
    fragile: async () => {
      const { node, socket } = await fake()
      return { party: party(node, 7000), snap: () => void socket.emit('error', Object.assign(new Error('gone'), { code: 'EBADF' })) }
    },
    close: async () => {
      for (const node of nodes) await node.driver.close()
    },
  }
}

/** The addon's sockets: real ones in pairs, and a played addon for what loopback does not do. */
function native(engine: UdpEngine): Medium {
  const nodes: UdpNode[] = []
  const party = ({ host, driver, batch, slab }: UdpNode, port: number): Party => {
    batch.reset(slab, PARTY_SLAB)
    return { host, driver, batch, slab, link: FIRST, to: encodeAddress('127.0.0.1', port)! }
  }
  const played = async (): Promise<{ node: UdpNode; addon: FakeUdpAddon }> => {
    const addon = new FakeUdpAddon()
    const node = await openUdp({ engine: nativeEngine(addon) })
    nodes.push(node)
    return { node, addon }
  }
  return {
    pair: async () => {
      const [a, b] = [await openUdp({ bind: LOOPBACK, engine }), await openUdp({ bind: LOOPBACK, engine })]
      nodes.push(a, b)
      return { a: party(a, b.driver.port), b: party(b, a.driver.port) }
    },
    stalled: async () => {
      const { node, addon } = await played()
      addon.room = 0
      return { party: party(node, 7000), bytes: 300_000, release: () => addon.writable() }
    },
    fragile: async () => {
      const { node, addon } = await played()
      return { party: party(node, 7000), snap: () => addon.fail(-osConstants.errno.EBADF) }
    },
    close: async () => {
      for (const node of nodes) await node.driver.close()
    },
  }
}

function tcp(system: TcpSystem): Medium {
  const nodes: TcpNode[] = []
  const node = async (): Promise<TcpNode> => {
    const opened = await openTcp({ system })
    nodes.push(opened)
    return opened
  }
  const party = ({ host, driver, batch, slab }: TcpNode, id: LinkId): Party => {
    batch.reset(slab, PARTY_SLAB)
    return { host, driver, batch, slab, link: id, to: host.opens[id - 1]!.remote!.slice(0, ADDRESS_SIZE) }
  }
  return {
    pair: async () => {
      const [a, b] = [await node(), await node()]
      const links = await link(a, b)
      return { a: party(a, links.a), b: party(b, links.b) }
    },
    stalled: async () => {
      const a = await node()
      const played = await playedLink(a)
      played.socket.roomy = false
      const release = (): void => {
        played.socket.roomy = true
        while (played.socket.waiting.length > 0) played.socket.takeOne()
      }
      return { party: party(a, played.link), bytes: 100_000, release }
    },
    fragile: async () => {
      const a = await node()
      const raw = await rawDial(a)
      await raw.write(PREFACE)
      await until(() => a.host.opens.length === 1)
      a.driver.confirm(FIRST)
      await settle()
      return { party: party(a, FIRST), snap: () => raw.reset() }
    },
    close: async () => {
      await Promise.all(nodes.map((opened) => opened.close()))
    },
  }
}

/** Bluetooth at the level of backends: what a controller does with values is another matter. */
function ble(mtu: number): Medium {
  const air = new TestAir()
  air.mtu = mtu
  const nodes: BleNode[] = []
  const two = async (): Promise<readonly [BleNode, BleNode]> => {
    const [a, b] = [await nodeOn(air, 1), await nodeOn(air, 2)]
    nodes.push(a, b)
    await linked(a, b)
    return [a, b]
  }
  return {
    pair: async () => {
      const [a, b] = await two()
      return { a: a.party(FIRST), b: b.party(FIRST) }
    },
    stalled: async () => {
      const [a] = await two()
      a.radio.stalled = true
      return { party: a.party(FIRST), bytes: 100_000, release: () => a.radio.release() }
    },
    fragile: async () => {
      const [a] = await two()
      return { party: a.party(FIRST), snap: () => a.radio.lose() }
    },
    close: async () => {
      for (const node of nodes) await node.driver.close()
    },
  }
}

const SIM_BLOCKED = 160_000

/** A clock of simulation that goes with the real one, so that the same suite can wait for it. Returns how to stop it. */
function realTime(scheduler: Scheduler): () => void {
  const from = performance.now()
  const begin = scheduler.now
  let running = true
  const go = (): void => {
    const until = begin + (performance.now() - from) * 1000
    for (let steps = 0; steps < 2_000 && scheduler.step(until); steps++);
    if (running) setImmediate(go)
  }
  go()
  return () => { running = false }
}

/** Simulated air, faster than any radio. */
function simulatedBle(): Medium {
  const scheduler = new Scheduler()
  const air = new SimAir(scheduler, new SeededRandom(7), { ...usualAir, interval: 500, rate: 20, advertising: 1000, supervision: Infinity })
  const stop = realTime(scheduler)
  const drivers: SimBle[] = []
  const node = (device: number): Omit<Party, 'link' | 'to' | 'driver'> & { readonly driver: SimBle } => {
    const host = new TcpHost()
    const slab = host.arena.allocate(PARTY_SLAB)
    const batch = new TransmitBatch(1024)
    batch.reset(slab, PARTY_SLAB)
    const driver = new SimBle(host, air, encodeBleAddress('random', new Uint8Array(6).fill(device)))
    drivers.push(driver)
    return { host, driver, batch, slab }
  }
  const pair = async (): Promise<{ readonly a: Party; readonly b: Party }> => {
    const [a, b] = [node(1), node(2)]
    await a.driver.start()
    await b.driver.start()
    a.driver.dial(b.driver.address, 1)
    await until(() => a.host.opens.length === 1 && b.host.opens.length === 1)
    return { a: { ...a, link: FIRST, to: b.driver.address }, b: { ...b, link: FIRST, to: a.driver.address } }
  }
  return {
    pair,
    stalled: async () => {
      const { a } = await pair()
      air.reaches = () => false
      return { party: a, bytes: 100_000, release: () => { air.reaches = () => true } }
    },
    fragile: async () => {
      const { a } = await pair()
      return { party: a, snap: () => { drivers[0]!.lost(FIRST) } }
    },
    close: async () => {
      for (const driver of drivers) await driver.close()
      stop()
    },
  }
}

/** The simulated network on a clock that goes with the real one, so that the same suite can wait for it. */
function simulated(kind: 'udp' | 'tcp'): Medium {
  const scheduler = new Scheduler()
  const network = new SimNetwork(scheduler, new SeededRandom(7))
  const drivers: (SimUdp | SimTcp)[] = []
  let cut = false
  network.route = () => ({ conditions: perfectWire, cut })
  const stop = realTime(scheduler)
  const node = (machine: number): SimParty => {
    const host = new TcpHost()
    const addresses = [encodeAddress(`10.0.0.${machine}`, 7000)!]
    const slab = host.arena.allocate(PARTY_SLAB)
    const batch = new TransmitBatch(1024)
    batch.reset(slab, PARTY_SLAB)
    const options = { scheduler, network, addresses }
    const driver = kind === 'udp' ? new SimUdp(host, options) : new SimTcp(host, options)
    drivers.push(driver)
    return { host, driver, batch, slab, address: addresses[0]! }
  }
  const pair = async (): Promise<{ readonly a: Party; readonly b: Party }> => {
    const [a, b] = [node(1), node(2)]
    await a.driver.start()
    await b.driver.start()
    if (a.driver instanceof SimTcp) a.driver.dial(a.address, b.address, 1)
    await until(() => a.host.opens.length === 1 && b.host.opens.length === 1)
    const party = (own: SimParty, other: SimParty): Party => ({ ...own, link: FIRST, to: own.host.opens[0]!.remote ?? other.address })
    return { a: party(a, b), b: party(b, a) }
  }
  return {
    pair,
    stalled: async () => {
      const { a } = await pair()
      if (a.driver instanceof SimUdp) a.driver.hold()
      else cut = true
      const release = (): void => {
        cut = false
        if (a.driver instanceof SimUdp) a.driver.release()
      }
      return { party: a, bytes: SIM_BLOCKED, release }
    },
    fragile: async () => {
      const { a, b } = await pair()
      const snap = (): void => {
        if (a.driver instanceof SimUdp) a.driver.fail()
        else if (b.driver instanceof SimTcp) b.driver.reset(() => true)
      }
      return { party: a, snap }
    },
    close: async () => {
      for (const driver of drivers) await driver.close()
      stop()
    },
  }
}

describeTransport('UDP', { kind: 'udp', reliable: false, datagramMin: 1 }, udp)
if (addon?.udp !== undefined) {
  const { udp: real } = addon
  describeTransport('UDP by the addon', { kind: 'udp', reliable: false, datagramMin: 1 }, () => native(nativeEngine(real)))
  describeTransport('UDP by the addon without GSO and GRO', { kind: 'udp', reliable: false, datagramMin: 1 }, () => native(nativeEngine(real, { features: 0 })))
}
describeTransport('TCP', { kind: 'tcp', reliable: true, datagramMin: 20, pauses: true, lingers: true }, () => tcp(tcpSystem))
if (addon?.tcp !== undefined) {
  const { tcp: real } = addon
  describeTransport('TCP by the addon', { kind: 'tcp', reliable: true, datagramMin: 20, pauses: true, lingers: true }, () => tcp(nativeTcpSystem(real)))
}
describeTransport('simulated UDP', { kind: 'udp', reliable: false, datagramMin: 1 }, () => simulated('udp'))
describeTransport('simulated TCP', { kind: 'tcp', reliable: true, datagramMin: 20, lingers: true }, () => simulated('tcp'))
describeTransport('Bluetooth, simulated', { kind: 'ble', reliable: true, datagramMin: 1, datagramMax: 1200 }, simulatedBle)
for (const mtu of [23, 185, 517]) describeTransport(`Bluetooth with an MTU of ${mtu}`, { kind: 'ble', reliable: true, datagramMin: 1, datagramMax: 1200, pauses: true, lingers: true }, () => ble(mtu))
