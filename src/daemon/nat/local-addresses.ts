import { networkInterfaces } from 'node:os'
import { encodeAddress, type HostPort } from '../../core/base/address.ts'

const ADDRESSES_MAX = 16

/**
 * Where peers can reach this node's socket: what the configuration advertises first, then the addresses of the interfaces.
 * Link-local ones need a zone that a peer does not share; loopback serves only where there is nothing else (two daemons on one
 * machine without a network).
 */
export function localAddresses(port: number, advertise: readonly HostPort[], bind: readonly string[]): Uint8Array[] {
  const hosts: string[] = []
  const loopback: string[] = []
  const everything = bind.some((host) => host === '::' || host === '0.0.0.0')
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { address, internal, family } of addresses ?? []) {
      if (family === 'IPv6' && /^fe[89ab]/i.test(address)) continue
      if (!everything && !bind.includes(address)) continue
      if (internal) loopback.push(address)
      else hosts.push(address)
    }
  }
  const wanted = [
    ...advertise.map(({ host, port: own }) => ({ host, port: own === 0 ? port : own })),
    ...(hosts.length > 0 || advertise.length > 0 ? hosts : loopback).map((host) => ({ host, port })),
  ]
  const found: Uint8Array[] = []
  for (const { host, port: at } of wanted) {
    const address = encodeAddress(host, at)
    if (address !== undefined && found.length < ADDRESSES_MAX) found.push(address)
  }
  return found
}
