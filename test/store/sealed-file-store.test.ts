import { createHash, createSecretKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { concat, readU32, readU64, utf8, writeU16 } from '../../src/core/base/bytes.ts'
import type { ErrorCode } from '../../src/core/base/errors.ts'
import { wrapDataKey, type KeySource } from '../../src/store/keys.ts'
import { deriveFileKeys, encodeHeader } from '../../src/store/sealed-file.ts'
import { BACKLOG_SIZE_MAX } from '../../src/store/sealed-file-store.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { VALUE_SIZE_MAX } from '../../src/store/store.ts'
import { FaultFs } from './fault-fs.ts'
import { contentOf, expectRefusal, filesOf, openSim, passphrase, refusal, simKeys, statePath } from './helpers.ts'
import { SimFs } from './sim-fs.ts'

const entries = { 'peer/a': 'one', 'peer/b': 'two', identity: 'seed' }

/** Opens a state that must be refused, and makes sure that nothing on the disk was touched. */
async function refused(files: Readonly<Record<string, Uint8Array>>, keys: readonly KeySource[] = simKeys): Promise<ErrorCode> {
  const fs = new SimFs(files)
  const error = await refusal(openSim(fs, keys))
  expect({ changes: fs.changeCount, open: fs.openFiles }).toEqual({ changes: 0, open: 0 })
  return error.code
}

/** The state file with `edit` made in its header and the checksum made right again, as a forger would. */
function forge(file: Uint8Array, edit: (copy: Uint8Array) => void): Uint8Array {
  const copy = file.slice()
  edit(copy)
  const end = Math.max(48, Math.min(readU32(copy, 12), copy.length))
  copy.set(createHash('sha256').update(copy.subarray(0, end - 32)).digest(), end - 32)
  return copy
}

describe('a damaged state file', () => {
  it('is refused at every length it can be cut to', async () => {
    const files = await filesOf(new SimFs(), entries)
    const file = files[statePath]!
    for (let size = 0; size < file.length; size++) expect(await refused({ ...files, [statePath]: file.slice(0, size) }), `cut to ${size}`).toBe('state_corrupt')
    expect(await refused({ ...files, [statePath]: concat(file, Uint8Array.of(0)) })).toBe('state_corrupt')
  })

  it('is refused for every bit that can flip', async () => {
    const files = await filesOf(new SimFs(), entries)
    for (let bit = 0; bit < files[statePath]!.length * 8; bit++) {
      const altered = files[statePath]!.slice()
      altered[bit >> 3]! ^= 1 << (bit & 7)
      expect(await refused({ ...files, [statePath]: altered }), `bit ${bit}`).toBe('state_corrupt')
    }
  })

  it('is refused when a forger edits any byte of the header and its checksum', async () => {
    const files = await filesOf(new SimFs(), entries)
    const file = files[statePath]!
    const codes = new Set<ErrorCode>()
    for (let at = 0; at < readU32(file, 12) - 32; at++) {
      for (const value of [1, 0x80, 0xff]) {
        codes.add(await refused({ ...files, [statePath]: forge(file, (copy) => {
          copy[at]! ^= value
        }) }))
      }
    }
    expect([...codes].sort()).toEqual(['state_corrupt', 'state_key', 'state_version'])
  })

  it('is refused when it is zeros, garbage, something else or far too large', async () => {
    const files = await filesOf(new SimFs(), entries)
    for (const other of [new Uint8Array(4096), utf8('{"identity":"seed"}'), new Uint8Array(600).map((_, i) => i * 7), files['/sim/state.key']!]) {
      expect(await refused({ ...files, [statePath]: other })).toBe('state_corrupt')
    }
    const fs = new SimFs({ ...files, [statePath]: new Uint8Array(20_000) })
    await expectRefusal(openSim(fs, simKeys, 1000), 'state_corrupt', /more than a state may have/)
  })

  it('is told from a wrong key, a later version and a wrong passphrase', async () => {
    const files = await filesOf(new SimFs(), entries)
    const other = await filesOf(new SimFs(), entries)
    expect(await refused({ ...files, '/sim/state.key': other['/sim/state.key']! })).toBe('state_key')
    expect(await refused({ [statePath]: files[statePath]! })).toBe('state_key')
    expect(await refused({ ...files, [statePath]: forge(files[statePath]!, (copy) => writeU16(copy, 8, 2)) })).toBe('state_version')
    expect(await refused({ ...files, [statePath]: forge(files[statePath]!, (copy) => {
      copy[52] = 2
    }) })).toBe('state_version')
    const locked = await filesOf(new SimFs(), entries, [passphrase('right')])
    expect(await refused(locked, [passphrase('wrong')])).toBe('passphrase')
    expect(await refused(locked, simKeys)).toBe('passphrase')
    expect(await refused(locked, [passphrase()])).toBe('passphrase')
  })

  it('says in its message and hint what is wrong and what to do', async () => {
    const files = await filesOf(new SimFs(), entries)
    const cut = await refusal(openSim(new SimFs({ ...files, [statePath]: files[statePath]!.slice(0, -1) })))
    expect(cut.message).toMatch(/^The state file \/sim\/state.sealed is damaged: it has \d+ bytes where its header says \d+\.$/)
    expect(cut.hint).toBe('Restore it from a backup. To start anew, with a new identity, move it away: mv /sim/state.sealed /sim/state.sealed.damaged')
    const newer = await refusal(openSim(new SimFs({ ...files, [statePath]: forge(files[statePath]!, (copy) => writeU16(copy, 8, 9)) })))
    expect(newer.message).toContain('a newer version of posternd (format 9)')
  })
})

describe('a header', () => {
  it('is refused when it was not committed to with the data key, even if the content verifies', async () => {
    const fs = new SimFs()
    const dataKey = new Uint8Array(32).fill(1)
    const storeId = new Uint8Array(16).fill(2)
    const slots = await wrapDataKey(fs, simKeys, { storeId, dataKeyVersion: 1 }, dataKey)
    const header = { storeId, generation: 1, bodySize: 0, dataKeyVersion: 1, salt: new Uint8Array(32), nonce: new Uint8Array(12), slots }
    const { fileKey, commitKey } = deriveFileKeys(createSecretKey(dataKey), header)
    const build = (committedWith: KeyObject): Record<string, Uint8Array> => {
      const bytes = encodeHeader(header, committedWith)
      return { ...fs.files(), [statePath]: concat(bytes, createSealer(fileKey, header.nonce, bytes).final()) }
    }
    await using store = await openSim(new SimFs(build(commitKey)))
    expect(await contentOf(store)).toEqual({})
    await expectRefusal(openSim(new SimFs(build(fileKey))), 'state_corrupt', /header was put together/)
  })
})

describe('files of two stores', () => {
  it('do not mix, even under one key file', async () => {
    const key = new Uint8Array(32).fill(6)
    const a = (await filesOf(new SimFs({ '/sim/state.key': key }), entries))[statePath]!
    const b = (await filesOf(new SimFs({ '/sim/state.key': key }), entries))[statePath]!
    expect(a.length).toBe(b.length)
    const header = readU32(a, 12)
    const mix = (file: Uint8Array): Promise<ErrorCode> => refused({ [statePath]: file, '/sim/state.key': key })
    expect(await mix(concat(a.subarray(0, header), b.subarray(header)))).toBe('state_corrupt')
    // Slots of one in the header of the other, all else in place.
    const slots = [100, header - 64] as const
    expect(await mix(forge(a, (copy) => copy.set(b.subarray(...slots), slots[0])))).toBe('state_key')
    expect(await mix(forge(a, (copy) => copy.set(b.subarray(16, 32), 16)))).toBe('state_key')
    expect(await mix(forge(a, (copy) => copy.set(b.subarray(56, 100), 56)))).toBe('state_corrupt')
  })

  it('nor do two generations of one', async () => {
    const fs = new SimFs()
    const early = (await filesOf(fs, entries))[statePath]!
    await using store = await openSim(fs)
    await store.put('peer/a', utf8('ONE'))
    const late = fs.files()[statePath]!
    const header = readU32(early, 12)
    expect(late.length).toBe(early.length)
    expect(readU64(late, 32)).toBe(readU64(early, 32) + 1)
    const files = { ...fs.files(), [statePath]: concat(late.subarray(0, header), early.subarray(header)) }
    expect(await refused(files)).toBe('state_corrupt')
    expect(await refused({ ...files, [statePath]: forge(late, (copy) => copy.set(early.subarray(32, 40), 32)) })).toBe('state_corrupt')
  })
})

describe('what is on the disk', () => {
  it('shows no key and no value, in any byte that was ever written', async () => {
    const fs = new SimFs()
    const secrets = ['canary-in-a-value-5b1f', 'peer/canary-in-a-key-77aa', 'canary-passphrase-90ce']
    const keys = [...simKeys, passphrase(secrets[2]!)]
    await using store = await openSim(fs, keys)
    await store.put(secrets[1]!, utf8(secrets[0]!.repeat(50)))
    await store.put('other', utf8(secrets[0]!))
    await store.delete(secrets[1]!)
    const all = Buffer.concat([...fs.written, ...Object.values(fs.files())])
    for (const secret of secrets) {
      for (const form of [secret, Buffer.from(secret, 'utf16le'), Buffer.from(secret).toString('hex'), Buffer.from(secret).toString('base64').slice(0, -3)]) expect(all.includes(form)).toBe(false)
    }
    expect(Buffer.concat([all, Buffer.from(secrets[0]!)]).includes(secrets[0]!), 'the search finds').toBe(true)
  })

  it('is sealed with another salt and nonce at every write', async () => {
    const fs = new SimFs()
    await using store = await openSim(fs)
    const seen = new Set<string>()
    for (let i = 0; i < 50; i++) {
      await store.put('same', utf8('same'))
      const file = Buffer.from(fs.files()[statePath]!)
      seen.add(file.toString('hex', 56, 88)).add(file.toString('hex', 88, 100)).add(file.toString('hex', file.length - 30))
    }
    expect(seen.size).toBe(150)
  })

  it('has nothing unfinished left after a start', async () => {
    const files = await filesOf(new SimFs(), entries)
    const fs = new SimFs({ ...files, '/sim/state.sealed.tmp-00ff': new Uint8Array(9), '/sim/state.sealed.tmp-1': new Uint8Array(0), '/sim/state.sealed.damaged': new Uint8Array(1) })
    await using store = await openSim(fs)
    expect(await contentOf(store)).toEqual(entries)
    expect(Object.keys(fs.files()).sort()).toEqual(['/sim/state.key', '/sim/state.sealed', '/sim/state.sealed.damaged'])
  })

  it('can be read by every later version: format 1', async () => {
    const fixture = async (name: string): Promise<Uint8Array> => new Uint8Array(await readFile(new URL(`fixtures/${name}`, import.meta.url)))
    const files = { [statePath]: await fixture('state-v1.sealed'), '/sim/state.key': await fixture('state-v1.key') }
    const expected = { 'a/empty': '', 'identity/seed': 'golden seed', 'peer/é': 'zwölf', '\ufeffmark': 'kept', '\u{1f5dd}': 'key' }
    for (const keys of [simKeys, [passphrase('golden pässphrase')]]) {
      await using store = await openSim(new SimFs(files), keys)
      expect(store.created).toBe(false)
      expect(store.generation).toBe(3)
      expect(await contentOf(store, '')).toEqual({ ...expected, 'z/big': 'x'.repeat(5000) })
    }
    expect(await refused(files, [passphrase('golden passphrase')])).toBe('passphrase')
  })
})

describe('writing', () => {
  it('shares one file among all that is in flight', async () => {
    const fs = new SimFs()
    await using store = await openSim(fs)
    expect([store.created, store.generation]).toEqual([true, 1])
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.put(`k${i}`, utf8('v'))))
    expect(store.generation).toBe(2)
  })

  it('shows nothing before it is durable', async () => {
    const gate = makeGate()
    const fs = new SimFs()
    await using store = await openSim(gate.wrap(fs))
    await store.put('a', utf8('old'))
    gate.close()
    const putting = store.put('a', utf8('new'))
    const watcher = store.watch('', new AbortController().signal)
    await gate.reached
    const sharing = Promise.all([store.put('b', utf8('1')), store.put('c', utf8('2')), store.delete('c')])
    expect(await contentOf(store)).toEqual({ a: 'old' })
    gate.open()
    await Promise.all([putting, sharing])
    expect(await contentOf(store)).toEqual({ a: 'new', b: '1' })
    // Created, old, new, and one for the three that came while new was written.
    expect(store.generation).toBe(4)
    await store.close()
    const seen: string[] = []
    for await (const change of watcher) seen.push(change.kind)
    expect(seen).toEqual(['put', 'put', 'put', 'delete'])
  })

  it('refuses what would make the state too large, and only that', async () => {
    const fs = new SimFs()
    await using store = await openSim(fs, simKeys, 1000)
    await store.put('a', new Uint8Array(900))
    const [large, small] = await Promise.allSettled([store.batch([{ kind: 'delete', key: 'small' }, { kind: 'put', key: 'b', value: new Uint8Array(100) }]), store.put('small', utf8('1'))])
    expect([large.status, small.status]).toEqual(['rejected', 'fulfilled'])
    await expectRefusal(store.put('b', new Uint8Array(100)), 'limit', /larger than 1000 bytes/)
    await store.put('a', new Uint8Array(10))
    await store.put('b', new Uint8Array(100))
    await store.close()
    // A bound that was lowered meanwhile must not keep anybody from making room.
    const next = await openSim(fs, simKeys, 50)
    await expectRefusal(next.put('c', utf8('1')), 'limit')
    await next.delete('b')
    await next.put('c', utf8('1'))
    await next.close()
  })

  it('refuses a backlog that grows without bound', async () => {
    const gate = makeGate()
    await using store = await openSim(gate.wrap(new SimFs()))
    gate.close()
    const first = store.put('first', utf8('1'))
    await gate.reached
    const value = new Uint8Array(VALUE_SIZE_MAX)
    const accepted = Array.from({ length: BACKLOG_SIZE_MAX / VALUE_SIZE_MAX }, () => store.put('a', value))
    await expectRefusal(store.put('a', value), 'limit', /waiting for the disk/)
    gate.open()
    await Promise.all([first, ...accepted])
  })

  it('seals under other keys from a change of keys on', async () => {
    const fs = new SimFs()
    await filesOf(fs, entries)
    const old = fs.files()[statePath]!
    await using store = await openSim(fs)
    await Promise.all([store.changeKeys([passphrase('new')]), store.put('peer/c', utf8('three'))])
    await store.put('peer/d', utf8('four'))
    await store.close()
    expect(await refused(fs.files(), simKeys)).toBe('passphrase')
    await using again = await openSim(fs, [passphrase('new')])
    expect(await contentOf(again, 'peer/')).toEqual({ 'peer/a': 'one', 'peer/b': 'two', 'peer/c': 'three', 'peer/d': 'four' })
    await again.changeKeys(simKeys)
    await using third = await openSim(new SimFs(fs.files()), simKeys)
    expect(await third.get('identity')).toEqual(utf8('seed'))
    // The old file knows nothing of it: that is what the documentation says.
    await using before = await openSim(new SimFs({ ...fs.files(), [statePath]: old }))
    expect(await contentOf(before)).toEqual(entries)
  })
})

describe('a failing disk', () => {
  const failingSync = (call: 'sync' | 'sync-directory' | 'rename', failures: number): { fs: FaultFs; disk: SimFs; arm: () => void } => {
    const disk = new SimFs()
    let left = 0
    const fs = new FaultFs(disk, { at: (now) => (now === call && left-- > 0 ? 'EIO' : undefined) })
    return { fs, disk, arm: () => {
      left = failures
    } }
  }

  for (const call of ['sync', 'sync-directory', 'rename'] as const) {
    it(`ends all writing after one failed ${call}, which is never tried again`, async () => {
      const { fs, disk, arm } = failingSync(call, 1)
      await using store = await openSim(fs)
      await store.put('a', utf8('1'))
      arm()
      const [first, second] = [store.put('a', utf8('2')), store.put('b', utf8('2'))]
      const failure = await expectRefusal(first, 'disk', /EIO/)
      expect(await refusal(second)).toBe(failure)
      expect(store.failure).toBe(failure)
      const calls = fs.calls.length
      await expectRefusal(store.put('c', utf8('3')), 'disk')
      await expectRefusal(store.delete('a'), 'disk')
      expect(fs.calls.length, 'calls after the failure').toBe(calls)
      expect(await contentOf(store)).toEqual({ a: '1' })
      await store.close()
      expect(disk.openFiles).toBe(0)
    })
  }

  it('refuses the start when a new state cannot be written', async () => {
    const disk = new SimFs({ '/sim/state.key': new Uint8Array(32) })
    await expectRefusal(openSim(new FaultFs(disk, { at: (call) => (call === 'write' ? 'EDQUOT' : undefined) })), 'disk', /the disk is full/)
    await expectRefusal(openSim(new FaultFs(disk, { at: (call) => (call === 'open' ? 'EACCES' : undefined) })), 'unwritable', /is not allowed to/)
    expect([Object.keys(disk.files()), disk.openFiles]).toEqual([['/sim/state.key'], 0])
  })

  it('goes on after the disk was full, as soon as there is room', async () => {
    let isFull = false
    const disk = new SimFs()
    const fs = new FaultFs(disk, { at: (call) => (isFull && call === 'write' ? 'ENOSPC' : undefined) })
    await using store = await openSim(fs)
    await store.put('a', utf8('1'))
    isFull = true
    expect((await expectRefusal(store.put('a', utf8('2')), 'disk', /the disk is full\.$/)).hint).toContain('df -h /sim')
    expect(store.failure).toBeUndefined()
    expect(await contentOf(store)).toEqual({ a: '1' })
    expect(Object.keys(disk.files()).sort()).toEqual(['/sim/state.key', '/sim/state.sealed'])
    isFull = false
    await store.put('a', utf8('3'))
    await store.close()
    await using again = await openSim(disk)
    expect(await contentOf(again)).toEqual({ a: '3' })
  })
})

/** A file system whose fsync of files waits while the gate is closed. */
function makeGate(): { wrap: (fs: SimFs) => FaultFs; close: () => void; open: () => void; reached: Promise<void> } {
  let isClosed = false
  let release = (): void => undefined
  let arrive = (): void => undefined
  const reached = new Promise<void>((resolve) => {
    arrive = resolve
  })
  let opened = Promise.resolve()
  class GateFs extends FaultFs {
    override async open(path: string, mode: 'read' | 'create' | 'directory'): ReturnType<FaultFs['open']> {
      const file = await super.open(path, mode)
      return { ...file, sync: async () => {
        if (isClosed) {
          arrive()
          await opened
        }
        await file.sync()
      } }
    }
  }
  return {
    wrap: (fs) => new GateFs(fs, { at: () => undefined }),
    close: () => {
      isClosed = true
      opened = new Promise((resolve) => {
        release = resolve
      })
    },
    open: () => {
      isClosed = false
      release()
    },
    reached,
  }
}
