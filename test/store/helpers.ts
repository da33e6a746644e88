import { mkdtemp, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { PosternError, type ErrorCode } from '../../src/core/base/errors.ts'
import { fromUtf8, utf8 } from '../../src/core/base/bytes.ts'
import type { Fs } from '../../src/store/fs.ts'
import type { KeySource } from '../../src/store/keys.ts'
import { SealedFileStore } from '../../src/store/sealed-file-store.ts'
import type { Store } from '../../src/store/store.ts'
import type { SimFs } from './sim-fs.ts'

export const simKeys: readonly KeySource[] = [{ kind: 'key-file', path: '/sim/state.key' }]
export const statePath = '/sim/state.sealed'

export function openSim(fs: Fs, keys: readonly KeySource[] = simKeys, sizeMax?: number): Promise<SealedFileStore> {
  return SealedFileStore.open({ directory: '/sim', keys, fs, ...(sizeMax === undefined ? {} : { sizeMax }) })
}

/** The files of a closed store with these entries. */
export async function filesOf(fs: SimFs, entries: Readonly<Record<string, string>>, keys: readonly KeySource[] = simKeys): Promise<Record<string, Uint8Array>> {
  await using store = await openSim(fs, keys)
  await store.batch(Object.entries(entries).map(([key, value]) => ({ kind: 'put', key, value: utf8(value) })))
  await store.close()
  return fs.files()
}

export function passphrase(...words: readonly string[]): KeySource {
  return { kind: 'passphrase', ask: ({ attempt }) => Promise.resolve(words[attempt - 1]) }
}

/** What a store holds, as text. */
export async function contentOf(store: Store, prefix = ''): Promise<Record<string, string>> {
  const content: Record<string, string> = {}
  for await (const { key, value } of store.scan(prefix)) content[key] = fromUtf8(value) ?? '(not text)'
  return content
}

/** The coded error a promise rejects with; fails when it does not, or with something else. */
export async function refusal(promise: Promise<unknown>): Promise<PosternError> {
  const outcome: unknown = await promise.then(() => 'it resolved', (error: unknown) => error)
  if (!(outcome instanceof PosternError)) throw new Error('expected a PosternError', { cause: outcome })
  return outcome
}

export async function expectRefusal(promise: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<PosternError> {
  const error = await refusal(promise)
  expect(error.code).toBe(code)
  expect(error.message, 'one plain sentence').toMatch(/^[A-Z\p{Ll}][^\n]*\.$/u)
  if (message !== undefined) expect(error.message).toMatch(message)
  return error
}

/** An empty directory on the fastest real file system at hand, removed afterwards. */
export async function temporaryDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'postern-store-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** A small repeatable generator (mulberry32): crash tests print their seed, not their luck. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
