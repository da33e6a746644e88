import { createSocket, type Socket, type SocketOptions } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { readKernelDrops } from './kernel-drops.ts'

/** What the UDP driver asks of the machine, in one place, so that a test can play a machine that refuses. */
export interface UdpSystem {
  createSocket(options: SocketOptions): Socket
  /** Whether an IPv6 socket bound to `::` receives IPv4 too. */
  mapsIPv4(): 'yes' | 'no' | 'unknown'
  /** See {@link readKernelDrops}. */
  kernelDrops(local: Uint8Array, family: 4 | 6): number | undefined
}

export const udpSystem: UdpSystem = { createSocket, mapsIPv4, kernelDrops: readKernelDrops }

/**
 * Node passes `ipv6Only: false` on as "leave it", not as "switch it off" (libuv does that on Windows only), and cannot read
 * IPV6_V6ONLY back. So Linux is asked for its default; elsewhere (FreeBSD: off, macOS: on) binding a second socket tells.
 */
function mapsIPv4(): 'yes' | 'no' | 'unknown' {
  if (process.platform === 'win32') return 'yes'
  if (process.platform !== 'linux') return 'unknown'
  try {
    return readFileSync('/proc/sys/net/ipv6/bindv6only', 'latin1').trim() === '1' ? 'no' : 'yes'
  } catch {
    return 'unknown'
  }
}
