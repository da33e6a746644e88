import type { SocketOptions } from 'node:dgram'
import { constants as osConstants } from 'node:os'
import { ADDRESS_SIZE, encodeAddress } from '../../src/core/base/address.ts'
import type { LinkId } from '../../src/core/endpoint/contract.ts'
import { nativeEngine } from '../../src/net/udp-native.ts'
import type { UdpEngine } from '../../src/net/udp-socket.ts'
import type { UdpSystem } from '../../src/net/udp-system.ts'
import { addon } from '../support/addon.ts'
import { describeTransport, PARTY_SLAB, type Medium, type Party } from './conformance.ts'
import { link, openNode as openTcp, playedLink, PREFACE, rawDial, settle, type TcpNode } from './tcp-support.ts'
import { FakeUdpAddon } from './fake-udp-addon.ts'
import { FakeSocket, openNode as openUdp, until, type Node as UdpNode } from './udp-support.ts'

const FIRST = 1 as LinkId
const LOOPBACK = ['127.0.0.1']

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

function tcp(): Medium {
  const nodes: TcpNode[] = []
  const node = async (): Promise<TcpNode> => {
    const opened = await openTcp()
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

describeTransport('UDP', { kind: 'udp', reliable: false, datagramMin: 1 }, udp)
if (addon?.udp !== undefined) {
  const { udp: real } = addon
  describeTransport('UDP by the addon', { kind: 'udp', reliable: false, datagramMin: 1 }, () => native(nativeEngine(real)))
  describeTransport('UDP by the addon without GSO and GRO', { kind: 'udp', reliable: false, datagramMin: 1 }, () => native(nativeEngine(real, { features: 0 })))
}
describeTransport('TCP', { kind: 'tcp', reliable: true, datagramMin: 20 }, tcp)
