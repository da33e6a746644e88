import { closeSync } from 'node:fs'
import { isIPv4, Socket, type NetConnectOpts, type SocketConstructorOpts, type TcpNetConnectOpts } from 'node:net'
import { encodeAddress } from '../core/base/address.ts'
import { assert } from '../core/base/assert.ts'
import { tcpSystem, type TcpSystem } from './tcp-system.ts'

/** What the addon does for TCP (native/addon/src/tcp.cc). */
export interface TcpAddon {
  tcpBind(address: Uint8Array, family: number, only6: number, mode: number): number
}

/** `BindMode` of the same. */
const mode = { listener: 0, dialer: 1 } as const

/**
 * Node's TCP on sockets that the addon bound: dials leave from the port that is listened on, so that a NAT on the way maps both alike
 * and two sides that dial each other at once can meet in one connection (decision 078). Node's own way cannot set SO_REUSEPORT.
 */
export function nativeTcpSystem(addon: TcpAddon): TcpSystem {
  return {
    ...tcpSystem,
    sharesPort: true,
    listen: (server, { host, port, ipv6Only, backlog }, listening) => {
      const address = encodeAddress(host, port)
      assert(address !== undefined, 'what is listened on is an IP literal')
      const family = isIPv4(host) ? 4 : 6
      const fd = addon.tcpBind(address, family, family === 6 && ipv6Only ? 1 : 0, mode.listener)
      server.listen({ fd, backlog, exclusive: true }, listening)
    },
    connect: (options) => dialFrom(addon, options),
  }
}

/** What Node has besides for a socket that exists and is not connected: it must not be read from yet. */
interface UnconnectedOptions extends SocketConstructorOpts { readonly manualStart: true }

function dialFrom(addon: TcpAddon, options: NetConnectOpts): Socket {
  const { host, localPort, noDelay = false, allowHalfOpen = false } = options as TcpNetConnectOpts
  if (localPort === undefined) return tcpSystem.connect(options)
  const family = isIPv4(host!) ? 4 : 6
  let socket: Socket
  try {
    const fd = addon.tcpBind(encodeAddress(family === 4 ? '0.0.0.0' : '::', localPort)!, family, 1, mode.dialer)
    socket = socketOf(fd, { fd, allowHalfOpen, readable: true, writable: true, manualStart: true })
  } catch (error) {
    // As Node does: the socket says it, later.
    return new Socket().destroy(error as Error)
  }
  const { localPort: _bound, ...rest } = options as TcpNetConnectOpts
  return socket.connect(rest).setNoDelay(noDelay)
}

function socketOf(fd: number, options: UnconnectedOptions): Socket {
  try {
    return new Socket(options)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}
