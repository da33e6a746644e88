import { createSecretKey, type KeyObject } from 'node:crypto'
import { concat, equalBytes, equalConstantTime, readU16, readU32, readU64, utf8, wipe, writeU16, writeU32, writeU64 } from '../core/base/bytes.ts'
import { compareKeys, Entries, ENTRY_OVERHEAD } from './entries.ts'
import { SLOT_COUNT_MAX, SLOT_SIZE_MAX, type KeySlot } from './keys.ts'
import { hkdf, hmacSha256, NONCE_SIZE, sha256, TAG_SIZE } from './sealing.ts'
import { copyBytes, KEY_SIZE_MAX, VALUE_SIZE_MAX } from './store.ts'

/**
 * One sealed state file. Integers are little-endian.
 *
 * ```
 *   0   8  magic "POSTERN" | zero          the same in every version
 *   8   2  version = 1                     the same place in every version
 *  10   2  zero
 *  12   4  header size                     the same place in every version: all bytes before the ciphertext
 *  16  16  store id                        random, made once
 *  32   8  generation                      1, 2, 3 … with every write
 *  40   8  body size                       of the ciphertext, without the tag
 *  48   4  data key version                1, 2, 3 … with every change of keys
 *  52   1  suite = 1                       HKDF-SHA-256, AES-256-GCM
 *  53   1  slot count
 *  54   2  zero
 *  56  32  salt                            random, new with every write
 *  88  12  nonce                           random
 * 100      slots: kind u8 | zero | size u16 | body            see keys.ts
 *      32  commitment = HMAC-SHA-256(commit key, all before)
 *      32  checksum = SHA-256(all before)  the last of the header in every version
 *          ciphertext of the body, AES-256-GCM(file key, nonce), associated = the whole header
 *      16  tag
 *
 * (file key 32 | commit key 32) = HKDF-SHA-256(data key, salt, "postern state v1" | store id | generation)
 * body = entries in key order, each: key size u16 | value size u32 | key | value
 * ```
 *
 * The fresh salt gives every write its own key, so no (key, nonce) pair comes twice, whatever a restored snapshot or a cloned
 * machine does. The checksum tells damage from everything else and needs no key. The commitment ties the header to the data
 * key, and makes it infeasible to build a file that opens under two keys (plain GCM allows that).
 * What this cannot show is that a whole file is an older generation: that takes an anchor outside the directory.
 */
export const FORMAT_VERSION = 1

/** Bytes of header and tag around the body at most: a file larger than the body allows plus this was not written by us. */
export const HEADER_SIZE_MAX: number = 100 + SLOT_COUNT_MAX * (4 + SLOT_SIZE_MAX) + 64

const MAGIC = Uint8Array.of(0x50, 0x4f, 0x53, 0x54, 0x45, 0x52, 0x4e, 0)
const SUITE = 1
const FIXED_SIZE = 100
const HASH_SIZE = 32
export const STORE_ID_SIZE = 16
export const FILE_SALT_SIZE = 32

export interface Header {
  readonly storeId: Uint8Array
  readonly generation: number
  readonly bodySize: number
  readonly dataKeyVersion: number
  readonly salt: Uint8Array
  readonly nonce: Uint8Array
  readonly slots: readonly KeySlot[]
}

export interface FileKeys {
  readonly fileKey: KeyObject
  readonly commitKey: KeyObject
}

export type DecodedFile =
  | { readonly kind: 'file'; readonly header: Header; readonly headerBytes: Uint8Array; readonly ciphertext: Uint8Array; readonly tag: Uint8Array }
  | { readonly kind: 'newer'; readonly version: number }
  | { readonly kind: 'malformed'; readonly where: string }

/** The two keys of one written file. */
export function deriveFileKeys(dataKey: KeyObject, header: Header): FileKeys {
  const generation = new Uint8Array(8)
  writeU64(generation, 0, header.generation)
  const material = hkdf(dataKey, header.salt, concat(utf8('postern state v1'), header.storeId, generation), 64)
  const keys = { fileKey: createSecretKey(material.subarray(0, 32)), commitKey: createSecretKey(material.subarray(32)) }
  wipe(material)
  return keys
}

/** All bytes before the ciphertext. */
export function encodeHeader(header: Header, commitKey: KeyObject): Uint8Array {
  const slotsSize = header.slots.reduce((sum, slot) => sum + 4 + slot.body.length, 0)
  const size = FIXED_SIZE + slotsSize + 2 * HASH_SIZE
  const bytes = new Uint8Array(size)
  bytes.set(MAGIC)
  writeU16(bytes, 8, FORMAT_VERSION)
  writeU32(bytes, 12, size)
  bytes.set(header.storeId, 16)
  writeU64(bytes, 32, header.generation)
  writeU64(bytes, 40, header.bodySize)
  writeU32(bytes, 48, header.dataKeyVersion)
  bytes[52] = SUITE
  bytes[53] = header.slots.length
  bytes.set(header.salt, 56)
  bytes.set(header.nonce, 88)
  let offset = FIXED_SIZE
  for (const { kind, body } of header.slots) {
    bytes[offset] = kind
    writeU16(bytes, offset + 2, body.length)
    bytes.set(body, offset + 4)
    offset += 4 + body.length
  }
  bytes.set(hmacSha256(commitKey, bytes.subarray(0, offset)), offset)
  bytes.set(sha256(bytes.subarray(0, offset + HASH_SIZE)), offset + HASH_SIZE)
  return bytes
}

/** Splits a file; parts are views. Needs no key: what it accepts is undamaged as far as the header goes, not yet authentic. */
export function decodeFile(bytes: Uint8Array): DecodedFile {
  const malformed = (where: string): DecodedFile => ({ kind: 'malformed', where })
  if (bytes.length < MAGIC.length || !equalBytes(bytes.subarray(0, MAGIC.length), MAGIC)) return malformed('it does not begin like a state file')
  if (bytes.length < 16) return malformed('its header is cut short')
  const headerSize = readU32(bytes, 12)
  if (headerSize < 16 + HASH_SIZE || headerSize > bytes.length) return malformed('its header is cut short')
  const checksum = bytes.subarray(headerSize - HASH_SIZE, headerSize)
  if (!equalBytes(checksum, sha256(bytes.subarray(0, headerSize - HASH_SIZE)))) return malformed('the checksum of its header is wrong')
  // Only now: a flipped bit in the version is damage, not the future.
  const version = readU16(bytes, 8)
  if (version > FORMAT_VERSION) return { kind: 'newer', version }
  if (version !== FORMAT_VERSION || headerSize < FIXED_SIZE + 2 * HASH_SIZE || headerSize > HEADER_SIZE_MAX) return malformed('its header makes no sense')
  if (bytes[52]! > SUITE) return { kind: 'newer', version }
  const slots = decodeSlots(bytes.subarray(FIXED_SIZE, headerSize - 2 * HASH_SIZE), bytes[53]!)
  const zeros = bytes[10]! | bytes[11]! | bytes[54]! | bytes[55]!
  const bodySize = readU64(bytes, 40)
  const generation = readU64(bytes, 32)
  if (slots === undefined || zeros !== 0 || bytes[52] !== SUITE || generation > Number.MAX_SAFE_INTEGER) return malformed('its header makes no sense')
  const size = headerSize + bodySize + TAG_SIZE
  if (bytes.length !== size) return malformed(`it has ${bytes.length} bytes where its header says ${size}`)
  const header = {
    storeId: copyBytes(bytes.subarray(16, 16 + STORE_ID_SIZE)), generation, bodySize, dataKeyVersion: readU32(bytes, 48),
    salt: copyBytes(bytes.subarray(56, 56 + FILE_SALT_SIZE)), nonce: copyBytes(bytes.subarray(88, 88 + NONCE_SIZE)), slots,
  }
  return { kind: 'file', header, headerBytes: bytes.subarray(0, headerSize), ciphertext: bytes.subarray(headerSize, headerSize + bodySize), tag: bytes.subarray(size - TAG_SIZE) }
}

function decodeSlots(bytes: Uint8Array, count: number): KeySlot[] | undefined {
  if (count > SLOT_COUNT_MAX) return undefined
  const slots: KeySlot[] = []
  let offset = 0
  for (let i = 0; i < count; i++) {
    if (offset + 4 > bytes.length || bytes[offset + 1] !== 0) return undefined
    const size = readU16(bytes, offset + 2)
    const end = offset + 4 + size
    if (size > SLOT_SIZE_MAX || end > bytes.length) return undefined
    slots.push({ kind: bytes[offset]!, body: copyBytes(bytes.subarray(offset + 4, end)) })
    offset = end
  }
  return offset === bytes.length ? slots : undefined
}

/** Whether this header was made with this data key. */
export function isCommitted(headerBytes: Uint8Array, commitKey: KeyObject): boolean {
  const end = headerBytes.length - 2 * HASH_SIZE
  return equalConstantTime(headerBytes.subarray(end, end + HASH_SIZE), hmacSha256(commitKey, headerBytes.subarray(0, end)))
}

/** Bytes of body that are sealed and written at once: 256 KiB take the loop 0.2 ms. */
const CHUNK_SIZE = 256 * 1024

/** The body in pieces of about {@link CHUNK_SIZE}; a piece is valid until the next is asked for. */
export function* encodeBody(entries: Entries): Generator<Uint8Array> {
  const chunk = new Uint8Array(CHUNK_SIZE)
  let used = 0
  for (const { key, value } of entries.all()) {
    const keyBytes = utf8(key)
    const size = ENTRY_OVERHEAD + keyBytes.length + value.length
    if (used > 0 && used + size > CHUNK_SIZE) {
      yield chunk.subarray(0, used)
      used = 0
    }
    const into = size > CHUNK_SIZE ? new Uint8Array(size) : chunk.subarray(used, used + size)
    writeU16(into, 0, keyBytes.length)
    writeU32(into, 2, value.length)
    into.set(keyBytes, ENTRY_OVERHEAD)
    into.set(value, ENTRY_OVERHEAD + keyBytes.length)
    if (size > CHUNK_SIZE) yield into
    else used += size
  }
  if (used > 0) yield chunk.subarray(0, used)
  wipe(chunk)
}

/** A key may begin with U+FEFF, which a TextDecoder otherwise takes for a mark and drops: two keys would become one. */
const keyDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeKey(bytes: Uint8Array): string | undefined {
  try {
    return keyDecoder.decode(bytes)
  } catch {
    return undefined
  }
}

/** The entries of a body, with their own copies; `undefined` when it is none. */
export function decodeBody(body: Uint8Array): Entries | undefined {
  const entries = Entries.empty()
  let offset = 0
  let last: string | undefined
  while (offset < body.length) {
    if (offset + ENTRY_OVERHEAD > body.length) return undefined
    const keySize = readU16(body, offset)
    const valueSize = readU32(body, offset + 2)
    const valueOffset = offset + ENTRY_OVERHEAD + keySize
    const end = valueOffset + valueSize
    if (keySize === 0 || keySize > KEY_SIZE_MAX || valueSize > VALUE_SIZE_MAX || end > body.length) return undefined
    const key = decodeKey(body.subarray(offset + ENTRY_OVERHEAD, valueOffset))
    if (key === undefined || (last !== undefined && compareKeys(last, key) >= 0)) return undefined
    entries.apply([{ kind: 'put', key, value: copyBytes(body.subarray(valueOffset, end)) }])
    last = key
    offset = end
  }
  return entries
}
