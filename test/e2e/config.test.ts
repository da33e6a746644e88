import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { postern, posternJson, run } from './support/program.ts'
import { readResult } from './support/schemas.ts'
import { TemporaryDirectory } from './support/temporary.ts'

describe('postern config', () => {
  it('checks without a daemon, and makes nothing', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    expect(await posternJson(dir, 'config', 'check')).toEqual({ valid: true, file: null, set: 0, warnings: [] })
    expect(await postern(dir, 'config', 'check')).toMatch(/^There is no .*postern\.toml: the defaults rule\.\nNo key is set, all have their defaults\./)
    expect(existsSync(dir)).toBe(false)
  })

  it('finds everything that is wrong at once, in text and in JSON, with the exit status of a failed start', async () => {
    using temporary = new TemporaryDirectory()
    const file = temporary.join('p.toml')
    writeFileSync(file, '[udp]\nprot = 7000\n[log]\nlevel = "loud"\n', { mode: 0o600 })
    const text = await run('postern', ['config', 'check', '--config', file, '--set', 'limits.memory=1KiB'])
    expect(text).toMatchObject({ status: 78, out: '' })
    const lines = text.err.trimEnd().split('\n')
    expect(lines).toHaveLength(5)
    expect(lines[0]).toMatch(/^postern: .* has 3 problems\. \[config\]$/)
    expect(lines.slice(1, 4).sort()).toEqual([
      expect.stringMatching(/^ {2}--set: \[limits\] memory must be a size/), '  line 2: [udp] has no key "prot"; did you mean "port"?', expect.stringMatching(/^ {2}line 4: \[log\] level must be "trace" or/),
    ])
    const json = await run('postern', ['config', 'check', '--json', '--config', file])
    expect(json).toMatchObject({ status: 78, err: '' })
    expect(readResult('error', json.out).error.problems).toMatchObject([{ source: file, line: 2, key: 'udp.prot' }, { source: file, line: 4, key: 'log.level' }])
    const daemon = await run('posternd', ['--check', '--config', file])
    expect(daemon).toMatchObject({ status: 78, out: '' })
    expect(daemon.err).toMatch(/^posternd: .* has 2 problems\. \[config\]\n {2}line 2: .*\n {2}line 4: /)
    const one = await run('postern', ['config', 'check', '--config', temporary.join('none.toml')])
    expect(one.status).toBe(78)
    expect(one.err).toMatch(/^postern: .*none\.toml does not exist\. \[config\]\n {2}Correct --config/)
  })

  it('shows all of it as a file that can be used', async () => {
    using temporary = new TemporaryDirectory()
    const dir = temporary.join('a')
    mkdirSync(dir, { mode: 0o700 })
    writeFileSync(temporary.join('a', 'postern.toml'), '[udp]\nport = 7000\n', { mode: 0o600 })
    const shown = await postern(dir, 'config', 'show', '--set', 'log.level=debug')
    expect(shown).toMatch(/^port = 7000 +# line 2$/m)
    expect(shown).toMatch(/^level = "debug" +# --set$/m)
    writeFileSync(temporary.join('copy.toml'), shown, { mode: 0o600 })
    const { set } = await posternJson(dir, 'config', 'check', '--config', temporary.join('copy.toml'))
    const { keys } = await posternJson(dir, 'config', 'show', '--set', 'log.level=debug')
    expect(set).toBe((keys as unknown[]).length)
    expect(keys).toContainEqual({ key: 'udp.port', value: 7000, from: 'file', line: 2 })
    expect(keys).toContainEqual({ key: 'log.level', value: 'debug', from: 'option', option: '--set' })
    expect((await run('posternd', ['--dir', dir, '--check'])).out).toMatch(/^port = 7000 +# line 2$/m)
  })
})
