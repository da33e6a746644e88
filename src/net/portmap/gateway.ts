import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { endianness, networkInterfaces, type NetworkInterfaceInfo } from 'node:os'
import { encodeAddress } from '../../core/base/address.ts'
import type { Gateway } from '../../core/wire/port-map-io.ts'

/** What is read of the system; replaced in tests. Systems other than these two have no /proc/net/route, so no gateway is found there. */
export interface GatewaySystem {
  readonly platform: NodeJS.Platform
  /** The text of /proc/net/route (Linux), or what `route -n get default` prints (macOS). Rejects where there is none. */
  routes(): Promise<string>
  interfaces(): NodeJS.Dict<NetworkInterfaceInfo[]>
}

const ROUTE_TIMEOUT_MS = 5000

export const gatewaySystem: GatewaySystem = {
  platform: process.platform,
  routes: () => (process.platform === 'darwin' ? printed('/sbin/route', ['-n', 'get', 'default']) : readFile('/proc/net/route', 'latin1')),
  interfaces: networkInterfaces,
}

function printed(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: ROUTE_TIMEOUT_MS, encoding: 'latin1', maxBuffer: 65_536 }, (error, out) => (error === null ? resolve(out) : reject(new Error(`${program} failed`, { cause: error }))))
  })
}

export interface Route {
  readonly gateway: string
  readonly device: string
}

/** The default gateway by IPv4 and our address on the way to it; `undefined` where there is none, or the system does not say. */
export async function readGateway(system: GatewaySystem = gatewaySystem): Promise<Gateway | undefined> {
  let route: Route | undefined
  try {
    const text = await system.routes()
    route = system.platform === 'darwin' ? routeOfMacOs(text) : routeOfProc(text)
  } catch {
    return undefined
  }
  if (route === undefined) return undefined
  const router = encodeAddress(route.gateway, 0)
  const host = localHost(system.interfaces()[route.device] ?? [], route.gateway)
  const local = host === undefined ? undefined : encodeAddress(host, 0)
  return router === undefined || local === undefined ? undefined : { router, local }
}

const UP = 0x1
const GATEWAY = 0x2

/**
 * Of /proc/net/route: the default route with the lowest metric. When that one has no gateway (a tunnel), there is none: what a router
 * elsewhere lets in would be answered through the tunnel.
 */
export function routeOfProc(text: string): Route | undefined {
  let best: { readonly metric: number; readonly route: Route | undefined } | undefined
  for (const line of text.split('\n').slice(1)) {
    const [device, destination, gateway, flags, , , metric, mask] = line.trim().split(/\s+/)
    if (mask === undefined || !/^0{8}$/.test(destination!) || !/^0{8}$/.test(mask) || !/^[0-9A-Fa-f]{8}$/.test(gateway!)) continue
    const set = parseInt(flags!, 16)
    if ((set & UP) === 0 || (best !== undefined && best.metric <= Number(metric))) continue
    best = { metric: Number(metric), route: (set & GATEWAY) === 0 ? undefined : { gateway: dotted(gateway!), device: device! } }
  }
  return best?.route
}

/** The four bytes stand there as one number of the machine. */
function dotted(hex: string): string {
  const bytes = hex.match(/../g)!.map((byte) => parseInt(byte, 16))
  return (endianness() === 'LE' ? bytes.reverse() : bytes).join('.')
}

/** Of what `route -n get default` prints. Written from its documented form; not tested on macOS. */
export function routeOfMacOs(text: string): Route | undefined {
  const gateway = /^\s*gateway: (\d+\.\d+\.\d+\.\d+)\s*$/m.exec(text)?.[1]
  const device = /^\s*interface: (\S+)\s*$/m.exec(text)?.[1]
  return gateway === undefined || device === undefined ? undefined : { gateway, device }
}

/** The address in the gateway's network; else the first one of the interface. */
function localHost(addresses: readonly NetworkInterfaceInfo[], gateway: string): string | undefined {
  const candidates = addresses.filter(({ family }) => family === 'IPv4')
  const number = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  const near = candidates.find(({ address, netmask }) => {
    const mask = number(netmask)
    return ((number(address) & mask) ^ (number(gateway) & mask)) === 0
  })
  return (near ?? candidates[0])?.address
}
