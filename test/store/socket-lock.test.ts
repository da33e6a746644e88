import type * as FsPromises from 'node:fs/promises'
import { readdir } from 'node:fs/promises'
import { afterEach, expect, it, vi } from 'vitest'
import { lockBySocket } from '../../src/store/socket-lock.ts'
import { seeded, temporaryDirectory } from './helpers.ts'

const hooks = vi.hoisted(() => ({ beforeLink: undefined as (() => Promise<void>) | undefined }))

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof FsPromises>()
  const link: typeof real.link = async (from, to) => {
    const hook = hooks.beforeLink
    hooks.beforeLink = undefined
    await hook?.()
    return real.link(from, to)
  }
  return { ...real, link }
})

afterEach(() => {
  hooks.beforeLink = undefined
})

const nobody = (): Promise<undefined> => Promise.resolve(undefined)
const nothing = (): Promise<void> => Promise.resolve()

/** Takes the lock and says how to release it; fails when it is held. */
async function take(directory: string): Promise<() => Promise<void>> {
  const taken = await lockBySocket(directory, nobody, nothing)
  if (taken === 'held') throw new Error('held')
  return taken
}

it('goes to exactly one of many in every interleaving that comes up, over a dead one or none', async () => {
  const random = seeded(11)
  for (let round = 0; round < 150; round++) {
    await using directory = await temporaryDirectory()
    const past = round % 2
    if (past === 1) await (await take(directory.path))()
    let named = 0
    const taken = await Promise.all(Array.from({ length: 6 }, async () => {
      for (let turns = Math.floor(random() * 5); turns > 0; turns--) await new Promise(setImmediate)
      return lockBySocket(directory.path, nobody, async () => {
        named++
        await new Promise(setImmediate)
      })
    }))
    expect([taken.filter((answer) => answer !== 'held').length, named]).toEqual([1, 1])
    expect(await readdir(directory.path)).toEqual([`lock-${past + 1}.sock`])
    for (const release of taken) if (release !== 'held') await release()
  }
})

it('does not go to one that saw a dead lock long ago', async () => {
  await using directory = await temporaryDirectory()
  await (await take(directory.path))()
  let last: (() => Promise<void>) | undefined
  hooks.beforeLink = async () => {
    // While one contender holds "term 1 is dead" in its hand, term 2 comes and goes, and term 3 comes and clears up.
    await (await take(directory.path))()
    last = await take(directory.path)
    expect(await readdir(directory.path)).toEqual(expect.not.arrayContaining(['lock-2.sock']))
  }
  expect(await lockBySocket(directory.path, nobody, nothing)).toBe('held')
  expect(await readdir(directory.path)).toEqual(['lock-3.sock'])
  await last?.()
})

it('clears up after itself when it cannot be named', async () => {
  await using directory = await temporaryDirectory()
  await expect(lockBySocket(directory.path, nobody, () => Promise.reject(new Error('disk full')))).rejects.toThrow('disk full')
  expect(await readdir(directory.path)).toEqual(['lock-1.sock'])
  await (await take(directory.path))()
  expect(await readdir(directory.path)).toEqual(['lock-2.sock'])
})
