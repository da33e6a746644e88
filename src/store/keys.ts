import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto'
import { concat, equalConstantTime, readU32, utf8, wipe, writeU32 } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import type { Fs } from './fs.ts'
import { createKeyFile, readKeyFile } from './key-file.ts'
import { createSealer, hkdf, NONCE_SIZE, openSealed, pbkdf2Sha256, TAG_SIZE } from './sealing.ts'

/**
 * The data key encrypts the state; it is random and never changes hands. Each slot of the state file holds it wrapped under a
 * key-encryption key (KEK) of another kind, and any one slot opens the state. Changing a passphrase makes slots, not a store.
 *
 * ```
 * slot body, kind 1 (key file)     salt 32 | check 16 | nonce 12 | wrapped 32 | tag 16
 * slot body, kind 2 (passphrase)   kdf u8 (1: PBKDF2-HMAC-SHA-256) | zero 3 | iterations u32 | salt 32 | check 16 | nonce 12 | wrapped 32 | tag 16
 *
 * secret  = the 32 bytes of the key file, or PBKDF2(passphrase in Unicode NFC as UTF-8, salt, iterations, 32)
 * (KEK 32 | check 16) = HKDF-SHA-256(secret, salt, "postern kek v1" | kind u8 | store id 16)
 * wrapped = AES-256-GCM(KEK, nonce, data key), associated = store id 16 | data key version u32 | kind u8 | body up to and with check
 * ```
 * The check commits to the KEK: it tells a wrong key from a damaged slot before anything is opened. The file has its own
 * checksum, so a damaged salt is noticed before it can look like a wrong passphrase.
 */
export const slotKinds = {
  keyFile: 1,
  passphrase: 2,
  // Places kept: 3 systemd credential, 4 OS keyring, 5 PKCS#11, 6 recovery key. Passphrase KDFs kept: 2 scrypt, 3 argon2id.
} as const

export const DATA_KEY_SIZE = 32
/** Bound on slots of one state; the KDFs of all of them are at most tried once per start and passphrase. */
export const SLOT_COUNT_MAX = 8
/** Bound on one slot body. */
export const SLOT_SIZE_MAX = 1024

/** OWASP password storage cheat sheet, PBKDF2-HMAC-SHA-256: 0.2 s on the reference machine. */
export const PBKDF2_ITERATIONS = 600_000
/** Less is a weakened file. */
export const PBKDF2_ITERATIONS_MIN = 600_000
/** More is an attempt to keep the daemon busy: 3 s on the reference machine. */
export const PBKDF2_ITERATIONS_MAX = 10_000_000
/** Bound on a passphrase in UTF-8 bytes. */
export const PASSPHRASE_SIZE_MAX = 1024
/** Wrong passphrases the source may offer per start. */
export const PASSPHRASE_ATTEMPTS_MAX = 5

const SALT_SIZE = 32
const CHECK_SIZE = 16
const WRAPPED_SIZE = SALT_SIZE + CHECK_SIZE + NONCE_SIZE + DATA_KEY_SIZE + TAG_SIZE
const PBKDF2_PARAMETERS_SIZE = 8
const KDF_PBKDF2 = 1

/** A slot as it stands in the file. Kinds this version does not know are carried along unread. */
export interface KeySlot {
  readonly kind: number
  readonly body: Uint8Array
}

export interface PassphraseRequest {
  /** `create`: choose one for a new store (ask twice, if a person is asked). */
  readonly purpose: 'create' | 'open'
  /** 1 at first; higher when the last one was wrong. */
  readonly attempt: number
}

/** Where a KEK comes from. Where the passphrase comes from (environment, prompt, file) is the daemon's affair; `undefined` = no more. */
export type KeySource =
  | { readonly kind: 'key-file'; readonly path: string }
  | { readonly kind: 'passphrase'; readonly ask: (request: PassphraseRequest) => Promise<string | undefined> }

/** What a slot is bound to. */
export interface SlotContext {
  readonly storeId: Uint8Array
  readonly dataKeyVersion: number
}

/**
 * One slot per source, each with the data key. A key file that is not there is made; a passphrase is asked for once.
 * Rejects with `state_key`, `passphrase`, `unwritable` or `disk`.
 */
export async function wrapDataKey(fs: Fs, sources: readonly KeySource[], context: SlotContext, dataKey: Uint8Array): Promise<KeySlot[]> {
  if (sources.length === 0 || sources.length > SLOT_COUNT_MAX) {
    throw new PosternError('config', `A state has 1 to ${SLOT_COUNT_MAX} keys; the configuration names ${sources.length}.`)
  }
  const slots: KeySlot[] = []
  for (const source of sources) {
    if (source.kind === 'key-file') {
      const secret = (await readKeyFile(fs, source.path)) ?? (await createKeyFile(fs, source.path))
      slots.push(wrap(slotKinds.keyFile, context, new Uint8Array(0), new Uint8Array(randomBytes(SALT_SIZE)), secret, dataKey))
      continue
    }
    const passphrase = await source.ask({ purpose: 'create', attempt: 1 })
    if (passphrase === undefined) throw noPassphrase()
    const parameters = new Uint8Array(PBKDF2_PARAMETERS_SIZE)
    parameters[0] = KDF_PBKDF2
    writeU32(parameters, 4, PBKDF2_ITERATIONS)
    const salt = new Uint8Array(randomBytes(SALT_SIZE))
    slots.push(wrap(slotKinds.passphrase, context, parameters, salt, await stretch(passphrase, salt, PBKDF2_ITERATIONS), dataKey))
  }
  return slots
}

/**
 * The data key from the first slot that one of the sources opens, in the order of the sources. Otherwise the reason of the first
 * source: `state_key` (no, wrong or unsafe key file), `passphrase` (none or wrong), `state_version` (a KDF of a later version),
 * `state_corrupt` (a damaged slot), `unwritable` or `disk` (the key file cannot be read).
 */
export async function unwrapDataKey(fs: Fs, sources: readonly KeySource[], context: SlotContext, slots: readonly KeySlot[]): Promise<KeyObject> {
  let refusal: PosternError | undefined
  for (const source of sources) {
    try {
      const dataKey = source.kind === 'key-file' ? await openWithKeyFile(fs, source.path, context, slots) : await openWithPassphrase(source.ask, context, slots)
      if (dataKey !== undefined) return dataKey
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      refusal ??= error
    }
  }
  throw refusal ?? noSlotFits(slots)
}

/** `undefined` when the state has no slot for key files. */
async function openWithKeyFile(fs: Fs, path: string, context: SlotContext, slots: readonly KeySlot[]): Promise<KeyObject | undefined> {
  const mine = slots.filter((slot) => slot.kind === slotKinds.keyFile)
  if (mine.length === 0) return undefined
  const secret = await readKeyFile(fs, path)
  if (secret === undefined) {
    throw new PosternError('state_key', `The state needs the key file ${path}, which does not exist.`, { hint: 'Restore the key file from a backup; without it the state cannot be read.', details: { path } })
  }
  for (const slot of mine) {
    const dataKey = unwrap(slot, 0, context, new Uint8Array(secret))
    if (dataKey !== undefined) return dataKey
  }
  wipe(secret)
  throw new PosternError('state_key', `The key file ${path} does not belong to this state.`, { hint: 'Put back the key file that was made together with the state. The state is unharmed.', details: { path } })
}

/** `undefined` when the state has no slot for passphrases. */
async function openWithPassphrase(ask: (request: PassphraseRequest) => Promise<string | undefined>, context: SlotContext, slots: readonly KeySlot[]): Promise<KeyObject | undefined> {
  const mine = slots.filter((slot) => slot.kind === slotKinds.passphrase).map((slot) => ({ slot, iterations: iterationsOf(slot) }))
  if (mine.length === 0) return undefined
  for (let attempt = 1; attempt <= PASSPHRASE_ATTEMPTS_MAX; attempt++) {
    const passphrase = await ask({ purpose: 'open', attempt })
    if (passphrase === undefined && attempt === 1) throw noPassphrase()
    if (passphrase === undefined) break
    for (const { slot, iterations } of mine) {
      const salt = slot.body.subarray(PBKDF2_PARAMETERS_SIZE, PBKDF2_PARAMETERS_SIZE + SALT_SIZE)
      const dataKey = unwrap(slot, PBKDF2_PARAMETERS_SIZE, context, await stretch(passphrase, salt, iterations))
      if (dataKey !== undefined) return dataKey
    }
  }
  throw new PosternError('passphrase', 'The passphrase is wrong.', { hint: 'Try again with the passphrase this state was made with. The state is unharmed.' })
}

/** The PBKDF2 rounds a slot asks for, within the bounds: they come from the file before anything in it is authenticated. */
function iterationsOf(slot: KeySlot): number {
  const { body } = slot
  if (body[0] !== KDF_PBKDF2) {
    throw new PosternError('state_version', 'The passphrase of the state uses a key derivation of a newer version of posternd.', { hint: 'Install the newer version again.' })
  }
  const iterations = body.length === PBKDF2_PARAMETERS_SIZE + WRAPPED_SIZE ? readU32(body, 4) : 0
  if (body[1] !== 0 || body[2] !== 0 || body[3] !== 0 || iterations < PBKDF2_ITERATIONS_MIN || iterations > PBKDF2_ITERATIONS_MAX) {
    throw damagedSlot(`asks for ${iterations} rounds of PBKDF2, outside ${PBKDF2_ITERATIONS_MIN} to ${PBKDF2_ITERATIONS_MAX}`)
  }
  return iterations
}

async function stretch(passphrase: string, salt: Uint8Array, iterations: number): Promise<Uint8Array> {
  // RFC 8265 §4.2 (OpaqueString): keyboards disagree on how an accented letter is composed.
  const bytes = utf8(passphrase.normalize('NFC'))
  if (bytes.length === 0 || bytes.length > PASSPHRASE_SIZE_MAX) {
    throw new PosternError('passphrase', bytes.length === 0 ? 'The passphrase is empty.' : `The passphrase is longer than ${PASSPHRASE_SIZE_MAX} bytes.`)
  }
  const secret = await pbkdf2Sha256(bytes, salt, iterations, 32)
  wipe(bytes)
  return secret
}

/** Overwrites `secret`. */
function keysOf(kind: number, context: SlotContext, salt: Uint8Array, secret: Uint8Array): { kek: KeyObject; check: Uint8Array } {
  const material = hkdf(createSecretKey(secret), salt, concat(utf8('postern kek v1'), Uint8Array.of(kind), context.storeId), DATA_KEY_SIZE + CHECK_SIZE)
  const kek = createSecretKey(material.subarray(0, DATA_KEY_SIZE))
  const check = material.slice(DATA_KEY_SIZE)
  wipe(secret, material)
  return { kek, check }
}

function associatedOf(kind: number, context: SlotContext, body: Uint8Array): Uint8Array {
  const version = new Uint8Array(4)
  writeU32(version, 0, context.dataKeyVersion)
  return concat(context.storeId, version, Uint8Array.of(kind), body)
}

function wrap(kind: number, context: SlotContext, parameters: Uint8Array, salt: Uint8Array, secret: Uint8Array, dataKey: Uint8Array): KeySlot {
  const { kek, check } = keysOf(kind, context, salt, secret)
  const nonce = new Uint8Array(randomBytes(NONCE_SIZE))
  const head = concat(parameters, salt, check)
  const sealer = createSealer(kek, nonce, associatedOf(kind, context, head))
  const wrapped = sealer.update(dataKey)
  return { kind, body: concat(head, nonce, wrapped, sealer.final()) }
}

/** The data key, `undefined` when `secret` is not the one of this slot. Overwrites `secret`. */
function unwrap(slot: KeySlot, parametersSize: number, context: SlotContext, secret: Uint8Array): KeyObject | undefined {
  const { body } = slot
  if (body.length !== parametersSize + WRAPPED_SIZE) throw damagedSlot('has the wrong length')
  const headSize = parametersSize + SALT_SIZE + CHECK_SIZE
  const { kek, check } = keysOf(slot.kind, context, body.subarray(parametersSize, parametersSize + SALT_SIZE), secret)
  if (!equalConstantTime(check, body.subarray(headSize - CHECK_SIZE, headSize))) return undefined
  const nonce = body.subarray(headSize, headSize + NONCE_SIZE)
  const wrapped = body.subarray(headSize + NONCE_SIZE, headSize + NONCE_SIZE + DATA_KEY_SIZE)
  const tag = body.subarray(body.length - TAG_SIZE)
  const dataKey = openSealed(kek, nonce, associatedOf(slot.kind, context, body.subarray(0, headSize)), wrapped, tag)
  if (dataKey === undefined) throw damagedSlot('does not verify')
  const key = createSecretKey(dataKey)
  wipe(dataKey)
  return key
}

function damagedSlot(why: string): PosternError {
  return new PosternError('state_corrupt', `A key slot of the state is damaged: it ${why}.`, { hint: 'Restore the state from a backup.' })
}

function noPassphrase(): PosternError {
  return new PosternError('passphrase', 'The state is locked with a passphrase, and none was given.', { hint: 'Give the passphrase as the manual says (environment, file or prompt).' })
}

function noSlotFits(slots: readonly KeySlot[]): PosternError {
  const names = slots.map(({ kind }) => (kind === slotKinds.keyFile ? 'a key file' : kind === slotKinds.passphrase ? 'a passphrase' : 'a key of a newer version'))
  const code = slots.some(({ kind }) => kind === slotKinds.passphrase) ? 'passphrase' : 'state_key'
  return new PosternError(code, `The state is locked with ${[...new Set(names)].join(' or ')}, and the configuration names no such key.`, { hint: 'Name the right kind of key in the configuration.' })
}
