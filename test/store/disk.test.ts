import { chmod, chown, mkdir, readdir, readFile, rm, stat, symlink, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/core/base/bytes.ts'
import type { PosternError } from '../../src/core/base/errors.ts'
import { StateDirectory } from '../../src/store/state-directory.ts'
import { contentOf, expectRefusal, refusal, seeded, temporaryDirectory } from './helpers.ts'
import { Child, mountSmallDisk } from './process.ts'

/** Names in a state directory, without the sockets of a machine that has no flock program. */
async function stateFiles(path: string): Promise<string[]> {
  return (await readdir(path)).filter((name) => !name.startsWith('lock-')).sort()
}

describe('a state directory', () => {
  it('is made with its parents, for its owner alone', async () => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'a/b/state')
    await using state = await StateDirectory.open({ path })
    await state.store.put('a', utf8('1'))
    const mode = async (name: string): Promise<string> => ((await stat(join(path, name))).mode & 0o7777).toString(8)
    expect([await mode('..'), await mode('.'), await mode('LOCK'), await mode('state.key'), await mode('state.sealed')]).toEqual(['700', '700', '600', '600', '600'])
    expect(await stateFiles(path)).toEqual(['LOCK', 'state.key', 'state.sealed'])
    expect([state.path, state.store.created]).toEqual([path, true])
    await state.close()
    await using again = await StateDirectory.open({ path })
    expect([again.store.created, await contentOf(again.store)]).toEqual([false, { a: '1' }])
  })

  it('is closed to others when it is empty, and refused when it is not', async () => {
    await using directory = await temporaryDirectory()
    await chmod(directory.path, 0o755)
    await (await StateDirectory.open({ path: directory.path })).close()
    expect((await stat(directory.path)).mode & 0o777).toBe(0o700)
    await chmod(directory.path, 0o750)
    const error = await expectRefusal(StateDirectory.open({ path: directory.path }), 'permission', /Other users may enter/)
    expect(error.hint).toBe(`chmod 700 ${directory.path}`)
  })

  it('is the real one behind a symbolic link', async () => {
    await using directory = await temporaryDirectory()
    await mkdir(join(directory.path, 'real'), { mode: 0o700 })
    await symlink(join(directory.path, 'real'), join(directory.path, 'link'))
    await using state = await StateDirectory.open({ path: join(directory.path, 'link') })
    expect(state.path).toBe(join(directory.path, 'real'))
    await expectRefusal(StateDirectory.open({ path: join(directory.path, 'real') }), 'already_running')
  })

  it('is refused in plain words when it cannot be one', async () => {
    await using directory = await temporaryDirectory()
    await writeFile(join(directory.path, 'file'), '')
    await symlink(join(directory.path, 'nowhere'), join(directory.path, 'dangling'))
    await expectRefusal(StateDirectory.open({ path: join(directory.path, 'file') }), 'unwritable', /the path is not a directory\.$/)
    await expectRefusal(StateDirectory.open({ path: join(directory.path, 'file/below') }), 'unwritable', /not a directory\.$/)
    await expectRefusal(StateDirectory.open({ path: join(directory.path, 'dangling') }), 'unwritable', /does not exist\.$/)
    await expectRefusal(StateDirectory.open({ path: join(directory.path, 'x'.repeat(300)) }), 'unwritable', /too long\.$/)
  })

  it('lets go of its lock when the state is refused, and touches nothing', async () => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'state')
    await (await StateDirectory.open({ path })).close()
    const sealed = await readFile(join(path, 'state.sealed'))
    await chmod(join(path, 'state.key'), 0o644)
    const key = await expectRefusal(StateDirectory.open({ path }), 'state_key', /mode 644/)
    expect(key.hint).toBe(`chmod 600 ${join(path, 'state.key')}`)
    await chmod(join(path, 'state.key'), 0o600)
    await writeFile(join(path, 'state.sealed'), sealed.subarray(0, 100))
    await expectRefusal(StateDirectory.open({ path }), 'state_corrupt')
    expect(await readFile(join(path, 'state.sealed'))).toEqual(sealed.subarray(0, 100))
    await rm(join(path, 'state.sealed'))
    await mkdir(join(path, 'state.sealed'))
    await expectRefusal(StateDirectory.open({ path }), 'state_corrupt', /not a plain file/)
    await rm(join(path, 'state.sealed'), { recursive: true })
    await writeFile(join(path, 'state.sealed'), sealed)
    await unlink(join(path, 'state.key'))
    await expectRefusal(StateDirectory.open({ path }), 'state_key', /does not exist/)
    expect(await stateFiles(path)).toEqual(['LOCK', 'state.sealed'])
  })

  it.runIf(process.getuid?.() === 0)('belongs to the user the daemon runs as, and so does the key file', async () => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'state')
    await (await StateDirectory.open({ path })).close()
    await chown(join(path, 'state.key'), 12345, 12345)
    expect((await expectRefusal(StateDirectory.open({ path }), 'state_key', /belongs to user 12345/)).hint).toBe(`chown 0 ${join(path, 'state.key')}`)
    await chown(path, 12345, 12345)
    await expectRefusal(StateDirectory.open({ path }), 'permission', /belongs to user 12345/)
  })
})

describe('a real disk', () => {
  it('that is full refuses writes, loses nothing, and works again when there is room', async (context) => {
    await using directory = await temporaryDirectory()
    using disk = mountSmallDisk(directory.path, '128k')
    if (disk === undefined) return context.skip()
    const state = await StateDirectory.open({ path: directory.path })
    const acknowledged: Record<string, string> = {}
    let failure: PosternError | undefined
    for (let i = 0; failure === undefined; i++) {
      const value = `${i}`.repeat(1500)
      failure = await state.store.put(`k${i}`, utf8(value)).then(() => {
        acknowledged[`k${i}`] = value
        return undefined
      }, (error: unknown) => error as PosternError)
      expect(i).toBeLessThan(200)
    }
    expect([failure.code, failure.message]).toEqual(['disk', expect.stringContaining('the disk is full')])
    expect(Object.keys(acknowledged).length).toBeGreaterThan(10)
    expect(await contentOf(state.store)).toEqual(acknowledged)
    await state.store.batch(Object.keys(acknowledged).slice(5).map((key) => ({ kind: 'delete', key })))
    await state.store.put('again', utf8('1'))
    await state.close()
    await using again = await StateDirectory.open({ path: directory.path })
    expect(await contentOf(again.store)).toEqual({ ...Object.fromEntries(Object.entries(acknowledged).slice(0, 5)), again: '1' })
    expect(await stateFiles(directory.path)).toEqual(['LOCK', 'state.key', 'state.sealed'])
  })

  it('that is read-only is refused at the start, and while running', async (context) => {
    await using directory = await temporaryDirectory()
    using disk = mountSmallDisk(directory.path, '1m')
    if (disk === undefined) return context.skip()
    const state = await StateDirectory.open({ path: directory.path })
    await state.store.put('a', utf8('1'))
    await state.close()
    disk.remount('ro')
    const error = await expectRefusal(StateDirectory.open({ path: directory.path }), 'unwritable', /the file system is read-only\.$/)
    expect(error.hint).toContain(directory.path)
    await expectRefusal(StateDirectory.open({ path: join(directory.path, 'below') }), 'unwritable', /read-only/)
  })

  it('that is taken away while running refuses writes and keeps what it had', async () => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'state')
    await using state = await StateDirectory.open({ path })
    await state.store.put('a', utf8('1'))
    await rm(path, { recursive: true })
    await expectRefusal(state.store.put('a', utf8('2')), 'unwritable', /does not exist/)
    expect(await contentOf(state.store)).toEqual({ a: '1' })
  })
})

describe('kill -9', () => {
  it('at any moment loses nothing that was acknowledged', async () => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'state')
    const random = seeded(20261121)
    /** Per key the number last acknowledged. */
    const acknowledged = new Map<string, number>()
    let next = 0
    let total = 0
    for (let round = 0; round < 24; round++) {
      await using child = new Child('puts', path, 'flock', next)
      await child.line('ack')
      await new Promise((resolve) => setTimeout(resolve, random() * 60))
      await child.kill('SIGKILL')
      for (const line of child.lines.filter((said) => said.startsWith('ack '))) {
        const i = Number(line.slice(4))
        const key = `k${String(i % 500).padStart(3, '0')}`
        acknowledged.set(key, Math.max(acknowledged.get(key) ?? -1, i))
        next = Math.max(next, i + 1)
        total++
      }
      // Four more may have been under way.
      next += 4
      await using state = await StateDirectory.open({ path })
      const content = await contentOf(state.store)
      for (const [key, value] of Object.entries(content)) {
        const i = Number(value.split(' ')[0])
        expect(value).toBe(`${i} `.repeat(20))
        expect(i, `round ${round}, ${key}`).toBeGreaterThanOrEqual(acknowledged.get(key) ?? 0)
      }
      for (const key of acknowledged.keys()) expect(content, `round ${round}`).toHaveProperty(key)
      expect(await stateFiles(path)).toEqual(['LOCK', 'state.key', 'state.sealed'])
    }
    expect(total).toBeGreaterThan(24)
  })

  it('in the very first moments leaves a directory that can be opened', async () => {
    const random = seeded(7)
    for (let round = 0; round < 6; round++) {
      await using directory = await temporaryDirectory()
      const path = join(directory.path, 'state')
      await using child = new Child('hold', path, 'flock')
      await new Promise((resolve) => setTimeout(resolve, 30 + random() * 70))
      await child.kill('SIGKILL')
      await using state = await StateDirectory.open({ path })
      await state.store.put('a', utf8('1'))
    }
  })
})

describe('the passphrase', () => {
  it('of a state directory is asked for, not stored', async () => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'state')
    const keys = (word: string): Parameters<typeof StateDirectory.open>[0] => ({ path, keys: [{ kind: 'passphrase', ask: ({ attempt }) => Promise.resolve(attempt === 1 ? word : undefined) }] })
    const state = await StateDirectory.open(keys('right'))
    await state.store.put('a', utf8('1'))
    await state.close()
    expect(await stateFiles(path)).toEqual(['LOCK', 'state.sealed'])
    const error = await refusal(StateDirectory.open(keys('wrong')))
    expect([error.code, error.message]).toEqual(['passphrase', 'The passphrase is wrong.'])
    await using again = await StateDirectory.open(keys('right'))
    expect(await contentOf(again.store)).toEqual({ a: '1' })
  })
})
