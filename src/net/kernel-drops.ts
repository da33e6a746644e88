import { readFileSync } from 'node:fs'
import { endianness } from 'node:os'
import { isIPv4, portOf } from '../core/base/address.ts'

/**
 * Datagrams that the kernel threw away because our receive buffer was full, for the socket bound to `local` (18 bytes).
 * `undefined` where the system does not tell (anything but Linux). Reads a file of /proc: for `status`, not for a hot path.
 */
export function readKernelDrops(local: Uint8Array, family: 4 | 6): number | undefined {
  try {
    return parseKernelDrops(readFileSync(family === 6 ? '/proc/self/net/udp6' : '/proc/self/net/udp', 'latin1'), local, family)
  } catch {
    return undefined
  }
}

/** The last column of the row of `local` in the format of /proc/net/udp and udp6 (proc(5)). */
export function parseKernelDrops(table: string, local: Uint8Array, family: 4 | 6): number | undefined {
  const address = ` ${hexAddress(local, family)}:${portOf(local).toString(16).padStart(4, '0').toUpperCase()} `
  for (const line of table.split('\n')) {
    if (!line.includes(address) || line.indexOf(address) > 8) continue
    const drops = Number(line.trim().split(/\s+/).at(-1))
    return Number.isSafeInteger(drops) ? drops : undefined
  }
  return undefined
}

/** The kernel prints each group of four bytes as a number of the machine. */
function hexAddress(local: Uint8Array, family: 4 | 6): string {
  const bytes = family === 4 && isIPv4(local) ? local.subarray(12, 16) : local.subarray(0, 16)
  const little = endianness() === 'LE'
  let text = ''
  for (let group = 0; group < bytes.length; group += 4) {
    for (let i = 0; i < 4; i++) text += bytes[group + (little ? 3 - i : i)]!.toString(16).padStart(2, '0')
  }
  return text.toUpperCase()
}
