/**
 * What a node of ours advertises (Core Supplement, part A): 31 bytes at most, and never a name, an id or anything else that stays the same.
 *
 *   02 01 06                              flags: discoverable, no classic Bluetooth
 *   11 07 service 16, backwards           the one service
 *   09 ff ff ff hint 6                    the hint of this hour; 0xffff is the company that stands for none
 *
 * Together 31: nothing waits for a scan response, so who listens need not ask and shows itself to nobody. The hint is also read from service data of the
 * service (type 0x21), since there are stacks that can advertise it only so.
 */
import { concat, equalBytes } from '../base/bytes.ts'

export const ADVERTISEMENT_SIZE_MAX = 31
export const BLE_HINT_SIZE = 6
const UUID_SIZE = 16
const dataType = { flags: 0x01, someServices: 0x06, allServices: 0x07, serviceData: 0x21, manufacturer: 0xff } as const
/** Assigned Numbers §7.1: no company, for use without a membership. */
export const NO_COMPANY_ID = 0xffff
const NO_COMPANY: Uint8Array = Uint8Array.of(NO_COMPANY_ID & 0xff, NO_COMPANY_ID >> 8)

export interface BleAdvertisement {
  /** The service was named, in a list or with data. */
  readonly service: boolean
  readonly hint: Uint8Array | undefined
}

/** The bytes of a UUID as they go over the air: backwards. */
export function uuidBytes(uuid: string): Uint8Array {
  const digits = uuid.replaceAll('-', '')
  return Uint8Array.from({ length: UUID_SIZE }, (_, i) => Number.parseInt(digits.slice(2 * (UUID_SIZE - 1 - i), 2 * (UUID_SIZE - i)), 16))
}

export function encodeBleAdvertisement(service: Uint8Array, hint: Uint8Array | undefined): Uint8Array {
  const parts = [Uint8Array.of(2, dataType.flags, 0x06, 1 + UUID_SIZE, dataType.allServices), service]
  if (hint !== undefined) parts.push(Uint8Array.of(3 + BLE_HINT_SIZE, dataType.manufacturer), NO_COMPANY, hint)
  return concat(...parts)
}

/** Reads an advertisement or a scan response; what makes no sense in it ends the reading, and what came before counts. */
export function decodeBleAdvertisement(service: Uint8Array, data: Uint8Array): BleAdvertisement {
  let named = false
  let hint: Uint8Array | undefined
  for (let at = 0; at + 1 < data.length; at += 1 + data[at]!) {
    const length = data[at]!
    if (length === 0 || at + 1 + length > data.length) break
    const value = data.subarray(at + 2, at + 1 + length)
    switch (data[at + 1]) {
      case dataType.someServices:
      case dataType.allServices:
        for (let i = 0; i + UUID_SIZE <= value.length; i += UUID_SIZE) named ||= equalBytes(value.subarray(i, i + UUID_SIZE), service)
        break
      case dataType.serviceData:
        if (value.length < UUID_SIZE || !equalBytes(value.subarray(0, UUID_SIZE), service)) break
        named = true
        if (value.length === UUID_SIZE + BLE_HINT_SIZE) hint = value.slice(UUID_SIZE)
        break
      case dataType.manufacturer:
        if (value.length === 2 + BLE_HINT_SIZE && equalBytes(value.subarray(0, 2), NO_COMPANY)) hint ??= value.slice(2)
        break
      default:
    }
  }
  return { service: named, hint: named ? hint : undefined }
}
