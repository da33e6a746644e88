import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.ts'
import { run, type Outcome, type RunOptions } from './support/program.ts'
import { TemporaryDirectory } from './support/temporary.ts'

/** Everything in the state directory that is the user's: names, bytes and modes. The lock is remade at every start and says nothing. */
function stateOf(dir: string): Record<string, string> {
  const state = join(dir, 'state')
  if (!existsSync(state)) return {}
  return Object.fromEntries(readdirSync(state).filter((name) => name.startsWith('state.')).sort().map((name) => {
    const file = join(state, name)
    return [name, `${(statSync(file).mode & 0o777).toString(8)} ${readFileSync(file).toString('hex')}`]
  }))
}

/** One plain sentence with its code, then what to do; nothing else, and nothing on standard output. */
function expectRefusal(outcome: Outcome, code: string, status: number, sentence: RegExp): void {
  expect(outcome.status, outcome.err).toBe(status)
  expect(outcome.out).toBe('')
  const lines = outcome.err.split('\n')
  expect(lines, outcome.err).toHaveLength(3)
  expect(lines[0]).toMatch(/^posternd: \S.*[.?]( \(and \d+ more\))? \[[a-z_]+\]$/)
  expect(lines[0]).toMatch(new RegExp(`\\[${code}\\]$`))
  expect(lines[0]).toMatch(sentence)
  expect(lines[1]).toMatch(/^ {2}\S.{8,}$/)
  expect(outcome.err).not.toMatch(/\bat .*\.js:\d+|Error:/)
}

/** A directory in which a daemon ran once and was stopped. */
async function usedDirectory(dir: string, toml = '', options: { readonly env?: Readonly<Record<string, string>> } = {}): Promise<void> {
  await using daemon = await TestDaemon.start(dir, { toml, ...options })
  const client = await daemon.client()
  await client.invites.create()
  expect((await daemon.stop()).status).toBe(0)
}

function start(dir: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Outcome> {
  return run('posternd', ['--dir', dir, ...args], options)
}

describe('a configuration that cannot be used', () => {
  it.each<[string, string, RegExp]>([
    ['an unknown key', '[udp]\n\nprot = 7000\n', /postern\.toml line 3: \[udp\] has no key "prot"; did you mean "port"\?/],
    ['an unknown section', '[log]\n[upd]\nport = 7000\n', /line 2: there is no section "upd".*did you mean \[udp\]\?/],
    ['a key of another section', '[udp]\ndrain = "1s"\n', /line 2: \[udp\] has no key "drain"; did you mean "drain" in \[shutdown\]\?/],
    ['a value out of range', '[udp]\nport = 70000\n', /line 2: \[udp\] port must be .*65535.*70000/],
    ['a value of the wrong kind', '[session]\nidle = "soon"\n', /line 2: \[session\] idle must be .*"soon"/],
    ['keys that contradict each other', '[session]\nrekey = "10s"\nreject = "5s"\n', /line \d: \[session\] re\w+ must be/],
    ['bytes that are no TOML', '[udp\nport = 1\n', /line 1: column \d+: this is not TOML/],
    ['a value without quotes', '[log]\nlevel = info\n', /line 2: column \d+: this is not TOML/],
  ])('%s is named with its line and what is near', async (_what, toml, sentence) => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    mkdirSync(dir)
    writeFileSync(join(dir, 'postern.toml'), toml)
    expectRefusal(await start(dir), 'config', 78, sentence)
    expect(readdirSync(dir)).toEqual(['postern.toml'])
  })

  it('is also refused from the command line, by the option that said it', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    expectRefusal(await start(dir, ['--port', '99999']), 'config', 78, /--port/)
    expectRefusal(await start(dir, ['--set', 'udp.prot=1']), 'config', 78, /--set: .*did you mean "port"/)
    expectRefusal(await start(dir, ['--set', 'nonsense']), 'config', 78, /--set: it takes section\.key=value/)
    expectRefusal(await start(dir, ['--log-level', 'loud']), 'config', 78, /--log-level/)
    expectRefusal(await start(dir, ['--config', temporary.join('none.toml')]), 'config', 78, /none\.toml does not exist/)
    expectRefusal(await start(dir, ['--config', temporary.path]), 'config', 78, /is not a file/)
    expect(existsSync(dir)).toBe(false)
  })

  it('says the same from `postern up`, in text and in JSON', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    const text = await run('postern', ['--dir', dir, 'up', '--set', 'udp.prot=1'])
    expect(text.status).toBe(78)
    expect(text.err).toMatch(/^postern: --set: \[udp\] has no key "prot"; did you mean "port"\? \[config\]$/m)
    const json = await run('postern', ['--dir', dir, '--json', 'up', '--config', temporary.join('none.toml')])
    expect(json.status).toBe(78)
    expect(JSON.parse(json.out)).toMatchObject({ error: { code: 'config', message: expect.stringContaining('does not exist') as string, hint: expect.any(String) as string } })
  })

  it('is a socket path that is too long', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('d'.repeat(60), 'e'.repeat(60))
    expectRefusal(await start(dir), 'config', 78, /socket/)
  })
})

describe('a machine that refuses', () => {
  it('the port: another program has it', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await usedDirectory(dir)
    const socket = createSocket('udp4')
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    try {
      const { port } = socket.address()
      const before = stateOf(dir)
      expectRefusal(await start(dir, ['--port', `${port}`]), 'port_in_use', 71, new RegExp(`\\b${port}\\b`))
      expect(stateOf(dir)).toEqual(before)
    } finally {
      socket.close()
    }
  })

  it('the directory: nothing can be made there', async () => {
    using temporary = new TemporaryDirectory()
    // A file where a directory would have to be: refused to root as well.
    writeFileSync(temporary.join('file'), '')
    expectRefusal(await start(temporary.join('file', 'a')), 'unwritable', 73, /file\/a/)
    expectRefusal(await start('/proc/postern'), 'unwritable', 73, /\/proc\/postern/)
    expect(readFileSync(temporary.join('file'), 'utf8')).toBe('')
  })

  it('the directory: others may enter it', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await usedDirectory(dir)
    const before = stateOf(dir)
    chmodSync(join(dir, 'state'), 0o755)
    expectRefusal(await start(dir), 'permission', 77, /mode 755/)
    expect(stateOf(dir)).toEqual(before)
    chmodSync(join(dir, 'state'), 0o700)
  })

  it('the log file: its directory is not there', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await usedDirectory(dir)
    const before = stateOf(dir)
    expectRefusal(await start(dir, ['--set', `log.file=${temporary.join('none', 'x.log')}`]), 'unwritable', 73, /none\/x\.log/)
    expect(stateOf(dir)).toEqual(before)
  })
})

describe('a state that cannot be opened stays as it is', () => {
  it('when a daemon runs on it already', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await using first = await TestDaemon.start(dir)
    const before = stateOf(dir)
    expectRefusal(await start(dir), 'already_running', 75, new RegExp(`\\b${first.program.pid}\\b`))
    expect(stateOf(dir)).toEqual(before)
    expect((await (await first.client()).status()).peerId).toBe(first.peerId)
    expect((await first.stop()).status).toBe(0)
  })

  it('when its bytes were changed, one by one anywhere, or cut off', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await usedDirectory(dir)
    const file = join(dir, 'state', 'state.sealed')
    const good = readFileSync(file)
    const places = [0, 9, 40, Math.floor(good.length / 2), good.length - 1]
    for (const damaged of [...places.map((at) => flipped(good, at)), good.subarray(0, good.length - 7), good.subarray(0, 0), Buffer.concat([good, Buffer.from([0])])]) {
      writeFileSync(file, damaged)
      const before = stateOf(dir)
      const outcome = await start(dir)
      const code = /\[(state_corrupt|state_version)\]$/m.exec(outcome.err)?.[1] ?? 'state_corrupt'
      expectRefusal(outcome, code, 65, /state/)
      expect(stateOf(dir)).toEqual(before)
    }
    writeFileSync(file, good)
    await using again = await TestDaemon.start(dir)
    expect((await (await again.client()).invites.list())).toHaveLength(1)
  })

  it('when its key file is missing, wrong, short, or open to others', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    await usedDirectory(dir)
    const file = join(dir, 'state', 'state.key')
    const good = readFileSync(file)
    const spoil: readonly [() => void, RegExp][] = [
      [() => rmSync(file), /does not exist/],
      [() => writeFileSync(file, flipped(good, 3), { mode: 0o600 }), /does not belong to this state/],
      [() => writeFileSync(file, good.subarray(0, 31), { mode: 0o600 }), /state\.key/],
      [() => {
        writeFileSync(file, good, { mode: 0o600 })
        chmodSync(file, 0o644)
      }, /Other users may read/],
    ]
    for (const [act, sentence] of spoil) {
      act()
      const before = stateOf(dir)
      expectRefusal(await start(dir), 'state_key', 77, sentence)
      expect(stateOf(dir)).toEqual(before)
    }
    chmodSync(file, 0o600)
    await using again = await TestDaemon.start(dir)
    expect(again.peerId).toMatch(/^[a-z2-7]{52}$/)
  })

  it('when the passphrase is wrong, missing, or its file is open to others', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    const toml = '[store]\nkey = "passphrase"\n'
    await usedDirectory(dir, toml, { env: { POSTERN_PASSPHRASE: 'correct horse' } })
    const before = stateOf(dir)
    expectRefusal(await start(dir, [], { env: { POSTERN_PASSPHRASE: 'wrong horse' } }), 'passphrase', 77, /passphrase/i)
    expectRefusal(await start(dir, [], { env: { POSTERN_PASSPHRASE: '' } }), 'passphrase', 77, /empty/)
    expectRefusal(await start(dir), 'passphrase', 77, /no/)
    const file = temporary.join('passphrase')
    writeFileSync(file, 'correct horse\n')
    chmodSync(file, 0o644)
    expectRefusal(await start(dir, ['--set', `store.passphrase_file=${file}`]), 'passphrase', 77, /can be read by other users/)
    expectRefusal(await start(dir, ['--set', `store.passphrase_file=${temporary.join('none')}`]), 'passphrase', 77, /cannot be read/)
    // A state with a passphrase is not opened by a configuration that names a key file, and the other way round.
    expectRefusal(await start(dir, ['--set', 'store.key=file']), 'passphrase', 77, /configuration names no such key/)
    expect(stateOf(dir)).toEqual(before)
  })
})

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = new Uint8Array(bytes)
  copy[at]! ^= 0x20
  return copy
}
