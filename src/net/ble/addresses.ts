import { createHash } from 'node:crypto'
import { encodeBleAddress } from '../../core/base/ble-address.ts'

const MAC = /^([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})$/i

/**
 * The 18 bytes by which the core knows a device. Systems that hide addresses (macOS) give each device a name of their own, of which a digest stands
 * there: who dials is asked for the text that belongs to it.
 */
export function bleAddressOf(text: string): Uint8Array {
  const digits = MAC.exec(text)
  if (digits !== null) return encodeBleAddress('public', Uint8Array.from(digits.slice(1), (pair) => Number.parseInt(pair, 16)))
  return encodeBleAddress('named', createHash('sha256').update(text).digest().subarray(0, 6))
}
