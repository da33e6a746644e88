import { assert } from './assert.ts'

/**
 * A Bluetooth device where a network address stands, in the same 18 bytes: an address of the discard prefix 0100::/64 (RFC 6666), to which no
 * datagram is ever sent, so that nothing takes it for a host.
 *
 *   01 00 00 00 00 00 00 00 | kind u8 (0 public, 1 random, 2 a system's own name for it, hashed) | 00 | device 6 | 00 00
 */
const PREFIX = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)
const KIND_AT = 8
const DEVICE_AT = 10
export const BLE_DEVICE_SIZE = 6
const SIZE = DEVICE_AT + BLE_DEVICE_SIZE + 2

export const bleAddressKinds = ['public', 'random', 'named'] as const
export type BleAddressKind = (typeof bleAddressKinds)[number]

/** @param device 6 bytes, the most significant first, as people write them */
export function encodeBleAddress(kind: BleAddressKind, device: Uint8Array): Uint8Array {
  assert(device.length === BLE_DEVICE_SIZE, 'a device address has 6 bytes')
  const address = new Uint8Array(SIZE)
  address.set(PREFIX)
  address[KIND_AT] = bleAddressKinds.indexOf(kind)
  address.set(device, DEVICE_AT)
  return address
}

/** Whether the 18 bytes at `offset` name a Bluetooth device. */
export function isBleAddress(bytes: Uint8Array, offset = 0): boolean {
  for (let i = 0; i < PREFIX.length; i++) if (bytes[offset + i] !== PREFIX[i]) return false
  return true
}

/** Kind and device of an address that {@link isBleAddress}. The device is a copy. */
export function decodeBleAddress(bytes: Uint8Array, offset = 0): { readonly kind: BleAddressKind; readonly device: Uint8Array } {
  return { kind: bleAddressKinds[bytes[offset + KIND_AT]!] ?? 'named', device: bytes.slice(offset + DEVICE_AT, offset + DEVICE_AT + BLE_DEVICE_SIZE) }
}

/** `ble:c0:ff:ee:00:12:34`. */
export function formatBleAddress(bytes: Uint8Array, offset = 0): string {
  return `ble:${[...decodeBleAddress(bytes, offset).device].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`
}
