import { describe, expect, it } from 'vitest'
import { PosternError } from '../../src/core/base/errors.ts'
import { utf8 } from '../../src/core/base/bytes.ts'
import type { Fs } from '../../src/store/fs.ts'
import type { Operation, Store } from '../../src/store/store.ts'
import { FaultFs, type Call, type Fault } from './fault-fs.ts'
import { contentOf, openSim, seeded } from './helpers.ts'
import { PowerLoss, SimFs } from './sim-fs.ts'

const put = (key: string, value: string): Operation => ({ kind: 'put', key, value: utf8(value) })
const remove = (key: string): Operation => ({ kind: 'delete', key })

/** Groups of writes: those of a group are called together. The large value takes several sectors, so that it can tear. */
const script: readonly (readonly Operation[])[][] = [
  [[put('a', '1')]],
  [[put('b', '1'), put('c', '1')], [put('a', '2')]],
  [[remove('b')], [put('d', 'x'.repeat(3000))]],
  [[put('a', '3'), remove('c'), put('e', '1')]],
]

interface Issued {
  readonly operations: readonly Operation[]
  outcome: 'open' | 'acknowledged' | 'rejected'
  error?: unknown
}

/** What a run did, and with what the store ended. */
interface Run {
  readonly issued: Issued[]
  openError?: unknown
  failure?: PosternError | undefined
}

async function run(fs: Fs): Promise<Run> {
  const issued: Issued[] = []
  let store: Store
  try {
    store = await openSim(fs)
  } catch (openError) {
    return { issued, openError }
  }
  for (const group of script) {
    await Promise.all(group.map(async (operations) => {
      const write: Issued = { operations, outcome: 'open' }
      issued.push(write)
      await store.batch(operations).then(() => {
        write.outcome = 'acknowledged'
      }, (error: unknown) => {
        write.outcome = 'rejected'
        write.error = error
      })
    }))
  }
  await store.close()
  return { issued, failure: store.failure }
}

function apply(content: Record<string, string>, operations: readonly Operation[]): Record<string, string> {
  const next = { ...content }
  for (const operation of operations) {
    if (operation.kind === 'put') next[operation.key] = Buffer.from(operation.value).toString()
    else Reflect.deleteProperty(next, operation.key)
  }
  return next
}

/** Contents that a restart may find: all that was acknowledged, and the writes of the failed last file with it or not. */
function allowed({ issued, failure }: Run): Record<string, string>[] {
  let content: Record<string, string> = {}
  for (const write of issued) {
    if (write.outcome === 'acknowledged') content = apply(content, write.operations)
  }
  // Only the first group that met the failure was written; what came later was refused at the door.
  const first = issued.findIndex((write) => write.error === failure && failure !== undefined)
  if (first < 0) return [content]
  const group = script.map((writes) => writes.length).reduce<number[]>((ends, count) => [...ends, (ends.at(-1) ?? 0) + count], []).find((end) => end > first)!
  let ambiguous = content
  for (const write of issued.slice(first, group)) ambiguous = apply(ambiguous, write.operations)
  return [content, ambiguous]
}

async function recover(disk: SimFs): Promise<Record<string, string>> {
  const store = await openSim(disk)
  const content = await contentOf(store)
  // A recovered store works, and leaves nothing unfinished behind.
  await store.put('after', utf8('1'))
  await store.close()
  expect(Object.keys(disk.files()).sort()).toEqual(['/sim/state.key', '/sim/state.sealed'])
  return content
}

describe('every call that can fail', () => {
  const codes = ['EIO', 'ENOSPC', 'EINTR', 'EMFILE', 'short'] as const

  /** One fault per run, at call 1, 2, 3 … until a run has fewer calls. Returns the calls that were hit. */
  async function sweep(code: string, isAfter: boolean, isLasting: boolean): Promise<Call[]> {
    const hit: Call[] = []
    for (let target = 1; ; target++) {
      const disk = new SimFs()
      const fault: Fault = { isAfter, at: (_, number) => (number === target || (isLasting && number > target) ? code : undefined) }
      const fs = new FaultFs(disk, fault)
      const label = `${code} at call ${target}${isAfter ? ', after its effect' : ''}${isLasting ? ', for ever' : ''}`
      const done = await run(fs)
      const errors = [done.openError, ...done.issued.map(({ error }) => error)].filter((error) => error !== undefined)
      for (const error of errors) {
        expect(error, label).toBeInstanceOf(PosternError)
        expect((error as PosternError).code, label).toBe('disk')
      }
      const isHarmless = code === 'short' || (code === 'EINTR' && !isLasting && fs.calls[target - 1] === 'write')
      if (isHarmless) expect(errors, label).toEqual([])
      expect(disk.openFiles, `${label}: open files`).toBe(0)
      // Once as after kill -9, once as after a power failure that keeps nothing it need not keep, and one that keeps some.
      const random = seeded(target)
      for (const after of [disk.crash(() => true), disk.crash(() => false), disk.crash(() => random() < 0.5)]) {
        expect(allowed(done), label).toContainEqual(await recover(after))
      }
      if (fs.calls.length < target) return hit
      hit.push(fs.calls[target - 1]!)
    }
  }

  for (const code of codes) {
    it(`${code}: acknowledged is recovered, recovered was issued`, async () => {
      const hit = new Set<Call>()
      for (const isAfter of [false, true]) {
        for (const isLasting of [false, true]) for (const call of await sweep(code, isAfter, isLasting)) hit.add(call)
      }
      expect([...hit].sort()).toEqual(expect.arrayContaining(['close', 'list', 'open', 'rename', 'sync', 'sync-directory', 'write']))
    })
  }

  it('a start with a state there already: the same', async () => {
    const first = new SimFs()
    const store = await openSim(first)
    await store.batch([put('kept', '1')])
    await store.close()
    const hit = new Set<Call>()
    for (const code of codes) {
      for (let target = 1; ; target++) {
        const disk = new SimFs({ ...first.files(), '/sim/state.sealed.tmp-1': new Uint8Array(5) })
        const fs = new FaultFs(disk, { at: (_, number) => (number === target ? code : undefined) })
        const outcome = await openSim(fs).then(async (opened) => {
          const content = await contentOf(opened)
          await opened.close()
          return content
        }, (error: unknown) => error)
        const call = fs.calls[target - 1]
        const isHarmless = code === 'short' || (code === 'EINTR' && call === 'read') || call === undefined
        if (outcome instanceof PosternError && !isHarmless) expect(outcome.code).toBe('disk')
        else expect(outcome, `${code} at ${target}, ${call}`).toEqual({ kept: '1' })
        if (call !== undefined) hit.add(call)
        expect(disk.openFiles, `${code} at ${target}`).toBe(0)
        expect(await recover(disk)).toEqual({ kept: '1' })
        if (fs.calls.length < target) break
      }
    }
    expect([...hit].sort()).toEqual(['close', 'list', 'open', 'read', 'remove', 'stat'])
  })
})

describe('a power failure at every call', () => {
  /** Contents after 0, 1, 2 … groups: with group commit these are the only ones a file ever holds. */
  const prefixes = script.reduce<Record<string, string>[]>((all, group) => [...all, group.reduce((content, operations) => apply(content, operations), all.at(-1)!)], [{}])

  /** The number of crashes after which something acknowledged was missing or something was wrong. */
  async function crashes(seed: number, wrap: (disk: SimFs) => Fs): Promise<{ count: number; losses: string[] }> {
    const random = seeded(seed)
    const losses: string[] = []
    for (let crashAt = 1; ; crashAt++) {
      const disk = new SimFs()
      disk.crashAt = crashAt
      const done = await run(wrap(disk))
      const acknowledged = script.findIndex((_, i) => done.issued.slice(0, script.slice(0, i + 1).flat().length).some(({ outcome }) => outcome !== 'acknowledged') || done.issued.length < script.slice(0, i + 1).flat().length)
      const least = acknowledged < 0 ? script.length : acknowledged
      const odds = random()
      try {
        const found = await recover(disk.crash(() => random() < odds))
        const at = prefixes.findIndex((content) => JSON.stringify(content, Object.keys(content).sort()) === JSON.stringify(found, Object.keys(found).sort()))
        if (at < least) losses.push(`seed ${seed}, call ${crashAt}: found state ${at} of at least ${least}`)
      } catch (error) {
        if (error instanceof PowerLoss) throw error
        losses.push(`seed ${seed}, call ${crashAt}: ${String(error)}`)
      }
      if (disk.callCount < crashAt) return { count: crashAt, losses }
    }
  }

  it('loses nothing that was acknowledged and never leaves a state that cannot be read', async () => {
    let count = 0
    for (let seed = 1; seed <= 25; seed++) {
      const done = await crashes(seed, (disk) => disk)
      expect(done.losses).toEqual([])
      count += done.count
    }
    expect(count).toBeGreaterThan(1000)
  })

  it('would be noticed if an fsync were missing, of a file or of a directory', async () => {
    for (const missing of ['create', 'directory'] as const) {
      let losses = 0
      for (let seed = 1; seed <= 5; seed++) losses += (await crashes(seed, (disk) => withoutSync(disk, missing))).losses.length
      expect(losses, missing).toBeGreaterThan(0)
    }
  })
})

function withoutSync(disk: SimFs, missing: 'create' | 'directory'): Fs {
  return {
    open: async (path, mode) => {
      const file = await disk.open(path, mode)
      return mode === missing ? { ...file, sync: () => Promise.resolve() } : file
    },
    rename: (from, to) => disk.rename(from, to),
    remove: (path) => disk.remove(path),
    list: (path) => disk.list(path),
    makeDirectory: (path) => disk.makeDirectory(path),
    setMode: () => disk.setMode(),
    realPath: (path) => disk.realPath(path),
  }
}
