import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { wipe } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import { Entries } from './entries.ts'
import { explain, quote, readAll, systemCode, temporaryFor, writeAll, type Fs, type FsFile } from './fs.ts'
import { DATA_KEY_SIZE, unwrapDataKey, wrapDataKey, type KeySlot, type KeySource } from './keys.ts'
import { decodeBody, decodeFile, deriveFileKeys, encodeBody, encodeHeader, FILE_SALT_SIZE, HEADER_SIZE_MAX, isCommitted, STORE_ID_SIZE, type DecodedFile } from './sealed-file.ts'
import { createSealer, NONCE_SIZE, openSealed, TAG_SIZE } from './sealing.ts'

/** Name of the state file in its directory. */
export const STATE_FILE = 'state.sealed'
/** Bound on all entries together: every write writes them all. */
export const STATE_SIZE_MAX: number = 64 * 1024 * 1024

/** How the file is sealed, until the keys change. */
export interface Seal {
  readonly dataKey: KeyObject
  readonly dataKeyVersion: number
  readonly slots: readonly KeySlot[]
}

/** A state in memory, as its file has it, and where that is. */
export interface OpenState {
  readonly fs: Fs
  readonly directoryPath: string
  readonly directory: FsFile
  readonly storeId: Uint8Array
  readonly sizeMax: number
  generation: number
  seal: Seal
  entries: Entries
}

/** The bytes of a state file, `undefined` when there is none. Rejects with `state_corrupt` or the system's error. */
export async function readState(fs: Fs, path: string, sizeMax: number): Promise<Uint8Array | undefined> {
  let file: FsFile
  try {
    file = await fs.open(path, 'read')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const { kind, size } = await file.stat()
    if (kind !== 'file') throw corrupt(path, 'it is not a plain file')
    if (size > sizeMax + HEADER_SIZE_MAX + TAG_SIZE) throw corrupt(path, `it has ${size} bytes, more than a state may have`)
    return await readAll(file, size)
  } finally {
    await file.close()
  }
}

/** Where a state lives. */
export type Place = Pick<OpenState, 'fs' | 'directoryPath' | 'directory' | 'sizeMax'>

/** A new, empty state with a new data key: nothing is on disk yet but a new key file, if one was asked for. */
export async function makeState(place: Place, keys: readonly KeySource[]): Promise<OpenState> {
  const storeId = new Uint8Array(randomBytes(STORE_ID_SIZE))
  return { ...place, storeId, generation: 0, seal: await makeSeal(place.fs, keys, storeId, 1), entries: Entries.empty() }
}

/** A new data key with one slot per source. */
export async function makeSeal(fs: Fs, keys: readonly KeySource[], storeId: Uint8Array, dataKeyVersion: number): Promise<Seal> {
  const secret = new Uint8Array(randomBytes(DATA_KEY_SIZE))
  try {
    const slots = await wrapDataKey(fs, keys, { storeId, dataKeyVersion }, secret)
    return { dataKey: createSecretKey(secret), dataKeyVersion, slots }
  } finally {
    wipe(secret)
  }
}

/** Decrypts a state file. Rejects with `state_corrupt`, `state_version` or what {@link unwrapDataKey} says. */
export async function openState(place: Place, keys: readonly KeySource[], path: string, bytes: Uint8Array): Promise<OpenState> {
  const file = headerOf(decodeFile(bytes), path)
  const { header, headerBytes } = file
  const { storeId, dataKeyVersion, slots, generation } = header
  const dataKey = await unwrapDataKey(place.fs, keys, { storeId, dataKeyVersion }, slots)
  const { fileKey, commitKey } = deriveFileKeys(dataKey, header)
  if (!isCommitted(headerBytes, commitKey)) throw corrupt(path, 'its header was put together from different files')
  const body = openSealed(fileKey, header.nonce, headerBytes, file.ciphertext, file.tag)
  if (body === undefined) throw corrupt(path, 'its content does not verify')
  const entries = decodeBody(body)
  wipe(body)
  if (entries === undefined) throw corrupt(path, 'its content makes no sense')
  return { ...place, storeId, generation, seal: { dataKey, dataKeyVersion, slots }, entries }
}

function headerOf(file: DecodedFile, path: string): Extract<DecodedFile, { kind: 'file' }> {
  switch (file.kind) {
    case 'file': return file
    case 'newer': throw new PosternError('state_version', `The state file ${path} was written by a newer version of posternd (format ${file.version}).`, { hint: 'Install the newer version again, or restore a backup from before the upgrade.', details: { path, version: file.version } })
    case 'malformed': throw corrupt(path, file.where)
  }
}

function corrupt(path: string, why: string): PosternError {
  return new PosternError('state_corrupt', `The state file ${path} is damaged: ${why}.`, {
    hint: `Restore it from a backup. To start anew, with a new identity, move it away: mv ${quote(path)} ${quote(`${path}.damaged`)}`, details: { path },
  })
}

export type WriteResult = { readonly kind: 'written' } | {
  readonly kind: 'failed'
  readonly reason: PosternError
  /** Whether it is unknown which generation a restart would find. */
  readonly isUncertain: boolean
}

/** Writes the next generation and makes it the current one of `state`, which a failure leaves as it was. */
export async function writeState(state: OpenState, entries: Entries, seal: Seal): Promise<WriteResult> {
  const { fs, directoryPath, directory } = state
  const path = join(directoryPath, STATE_FILE)
  const temporary = temporaryFor(path)
  const next: OpenState = { ...state, generation: state.generation + 1, seal, entries }
  let isUncertain = false
  try {
    const file = await fs.open(temporary, 'create')
    try {
      await writeSealed(file, next)
      isUncertain = true
      await file.sync()
      isUncertain = false
    } finally {
      await file.close()
    }
    isUncertain = true
    await fs.rename(temporary, path)
    await directory.sync()
  } catch (error) {
    // Best effort: what stays is removed at the next start.
    if (!isUncertain) await fs.remove(temporary).catch(() => undefined)
    return { kind: 'failed', reason: explain(error, `write the state file ${path}`, directoryPath), isUncertain }
  }
  Object.assign(state, next)
  return { kind: 'written' }
}

async function writeSealed(file: FsFile, { storeId, generation, seal, entries }: OpenState): Promise<void> {
  const header = {
    storeId, generation, bodySize: entries.size, dataKeyVersion: seal.dataKeyVersion, slots: seal.slots,
    salt: new Uint8Array(randomBytes(FILE_SALT_SIZE)), nonce: new Uint8Array(randomBytes(NONCE_SIZE)),
  }
  const { fileKey, commitKey } = deriveFileKeys(seal.dataKey, header)
  const headerBytes = encodeHeader(header, commitKey)
  const sealer = createSealer(fileKey, header.nonce, headerBytes)
  let position = await writeAll(file, headerBytes, 0)
  // Awaiting each piece gives the loop back between two of them.
  for (const piece of encodeBody(entries)) position = await writeAll(file, sealer.update(piece), position)
  await writeAll(file, sealer.final(), position)
}
