import { spawnSync } from 'node:child_process'
import { mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { chooseNative } from '../../src/daemon/native.ts'
import { acquireInstanceLock, LOCK_FILE, type InstanceLockOptions } from '../../src/store/instance-lock.ts'
import { decodeHolder, describeSelf, encodeHolder, isAlive } from '../../src/store/lock-holder.ts'
import { expectRefusal, temporaryDirectory } from './helpers.ts'
import { Child } from './process.ts'

const hasFlock = spawnSync('flock', ['--version']).status === 0
if (!hasFlock) console.warn('skipped: no flock program here, so the lock by that program is not tested')
const { flock } = chooseNative({ enabled: true })

/** All ways to one lock: the addon, the program, and sockets. What a process of its own is given is the third column. */
const ways: readonly (readonly [string, 'flock' | 'socket', string | undefined, InstanceLockOptions])[] = [
  ...flock === undefined ? [] : [['the addon', 'flock', 'addon', { flock, flockProgram: undefined }] as const],
  ...hasFlock ? [['the program', 'flock', 'flock', { flockProgram: 'flock' }] as const] : [],
  ['a socket', 'socket', undefined, { flockProgram: undefined }],
]

for (const [way, kind, program, options] of ways) {
  describe(`instance lock by ${way}`, () => {
    it('is held once, names its holder, and can be had again after release', async () => {
      await using directory = await temporaryDirectory()
      const lock = await acquireInstanceLock(directory.path, options)
      expect(lock.kind).toBe(kind)
      const error = await expectRefusal(acquireInstanceLock(directory.path, options), 'already_running', new RegExp(`\\(pid ${process.pid}, since 2`))
      expect(error.details?.['pid']).toBe(process.pid)
      await Promise.all([lock.release(), lock.release()])
      expect(await readFile(join(directory.path, LOCK_FILE), 'utf8')).toBe('')
      await using again = await acquireInstanceLock(directory.path, options)
      expect(again.kind).toBe(kind)
    })

    it('is refused while another process has it, and free the moment that is killed', async () => {
      await using directory = await temporaryDirectory()
      const path = join(directory.path, 'state')
      await using child = new Child('hold', path, program)
      expect(await child.line('open')).toBe(`open ${kind}`)
      const error = await expectRefusal(acquireInstanceLock(path, options), 'already_running', new RegExp(`pid ${child.pid},`))
      expect(error.hint).toContain(`kill ${child.pid}`)
      await child.kill('SIGKILL')
      await using lock = await acquireInstanceLock(path, options)
      expect(decodeHolder(await readFile(join(path, LOCK_FILE), 'utf8'))?.pid).toBe(process.pid)
      expect(lock.kind).toBe(kind)
      expect((await readdir(path)).filter((name) => name.startsWith('lock-'))).toEqual(kind === 'flock' ? [] : ['lock-2.sock'])
    })

    it('goes to exactly one of many that start at once, also after a crash', async () => {
      await using directory = await temporaryDirectory()
      const path = join(directory.path, 'state')
      for (let round = 0; round < 3; round++) {
        // From the second round on the lock of a killed process is in the way.
        const children = Array.from({ length: 5 }, () => new Child('hold', path, program))
        const said = await Promise.all(children.map((child) => child.line('open', 'refused')))
        const winners = children.filter((_, i) => said[i]!.startsWith('open'))
        expect(winners, said.join('\n')).toHaveLength(1)
        for (const line of said.filter((text) => text.startsWith('refused'))) expect(line).toMatch(new RegExp(`^refused (already_running ${winners[0]!.pid}|state_locked)`))
        await Promise.all(children.map((child) => child[Symbol.asyncDispose]()))
      }
    })

    it('is not kept by a child process of the holder', async () => {
      await using directory = await temporaryDirectory()
      const path = join(directory.path, 'state')
      await using child = new Child('spawn', path, program)
      const grandchild = Number((await child.line('child')).split(' ')[1])
      await child.kill('SIGKILL')
      try {
        process.kill(grandchild, 0)
        await using lock = await acquireInstanceLock(path, options)
        expect(lock.kind).toBe(kind)
      } finally {
        process.kill(grandchild, 'SIGKILL')
      }
    })

    it('is not taken for held because of what an old lock file says', async () => {
      await using directory = await temporaryDirectory()
      const path = join(directory.path, LOCK_FILE)
      const self = await describeSelf()
      // A pid that now belongs to another process, one that cannot exist, half a line, garbage.
      for (const text of [encodeHolder({ ...self, start: 'boot 1' }), encodeHolder({ ...self, pid: 2 ** 22 + 1 }), encodeHolder(self).slice(0, 10), '\0'.repeat(5000)]) {
        await writeFile(path, text)
        await using lock = await acquireInstanceLock(directory.path, options)
        expect(lock.kind).toBe(kind)
        expect(decodeHolder(await readFile(path, 'utf8'))?.pid).toBe(process.pid)
      }
    })

    it('says so when it cannot tell who has it', async () => {
      await using directory = await temporaryDirectory()
      await using _lock = await acquireInstanceLock(directory.path, options)
      await writeFile(join(directory.path, LOCK_FILE), 'garbage')
      await expectRefusal(acquireInstanceLock(directory.path, options), 'state_locked', /^Another process has locked the state directory \S+\.$/)
      const holder = encodeHolder({ pid: 4242, start: 'elsewhere', since: '2026-11-21T00:00:00.000Z' })
      await writeFile(join(directory.path, LOCK_FILE), holder)
      await expectRefusal(acquireInstanceLock(directory.path, options), 'state_locked', /pid 4242 in another container/)
    })

    it('follows no symbolic link and needs a directory', async () => {
      await using directory = await temporaryDirectory()
      await symlink('/etc/hostname', join(directory.path, LOCK_FILE))
      await expectRefusal(acquireInstanceLock(directory.path, options), 'unwritable', /symbolic link/)
      await expectRefusal(acquireInstanceLock(join(directory.path, 'nowhere'), options), 'unwritable', /does not exist/)
    })
  })
}

describe('instance lock by several ways', () => {
  const pairs = ways.flatMap(([first, , , mine]) => ways.filter(([second]) => second !== first).map(([second, , , theirs]) => [first, second, mine, theirs] as const))

  it.each(pairs)('held by %s, it is not had by %s', async (_first, _second, mine, theirs) => {
    await using directory = await temporaryDirectory()
    await using _lock = await acquireInstanceLock(directory.path, mine)
    await expectRefusal(acquireInstanceLock(directory.path, theirs), 'already_running')
  })

  it.runIf(hasFlock)('a file system whose locks the addon cannot use is asked once more by the program, and then left to sockets', async () => {
    await using directory = await temporaryDirectory()
    const answers: string[] = []
    const unusable = (): 'unusable' => {
      answers.push('asked')
      return 'unusable'
    }
    const lock = await acquireInstanceLock(directory.path, { flock: unusable, flockProgram: 'flock' })
    expect([lock.kind, answers]).toEqual(['flock', ['asked']])
    await lock.release()
    await using other = await acquireInstanceLock(directory.path, { flock: unusable, flockProgram: undefined })
    expect(other.kind).toBe('socket')
  })

  it.skipIf(flock === undefined)('what is no file has no lock for the addon', () => {
    expect(flock!(2 ** 30)).toBe('unusable')
  })
})

describe('instance lock without a flock program', () => {
  it('falls back to the socket', async () => {
    await using directory = await temporaryDirectory()
    await using lock = await acquireInstanceLock(directory.path, { flockProgram: '/nowhere/flock' })
    expect(lock.kind).toBe('socket')
  })

  it('refuses a path that does not fit a socket', async () => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'x'.repeat(100))
    await mkdir(path)
    await expectRefusal(acquireInstanceLock(path, { flockProgram: undefined }), 'config', /too long for a socket/)
  })
})

describe('a lock holder', () => {
  it('is known again by its start, and only living', async () => {
    const self = await describeSelf()
    expect(await isAlive(self)).toBe(true)
    expect(await isAlive({ ...self, start: `${self.start}1` })).toBe(false)
    expect(await isAlive({ ...self, pid: 2 ** 22 + 1 })).toBe(false)
    expect(decodeHolder(encodeHolder(self))).toEqual(self)
    for (const text of ['', '{}\n', 'null\n', '[1]\n', '{"pid":"1","start":"a","since":"b"}\n', '{"pid":-1,"start":"a","since":"b"}\n', `${'x'.repeat(2000)}\n`]) expect(decodeHolder(text)).toBeUndefined()
  })
})
