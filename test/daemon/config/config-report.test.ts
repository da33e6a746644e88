import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { PosternError } from '../../../src/core/base/errors.ts'
import { checkConfig, type DaemonArguments } from '../../../src/daemon/command-line.ts'
import { defaultConfig, parseConfig } from '../../../src/daemon/config/config.ts'
import { configDefaults, configKeys } from '../../../src/daemon/config/config-schema.ts'
import { checkFailedText, checkedText } from '../../../src/daemon/config/config-report.ts'

const dir = mkdtempSync(join(tmpdir(), 'check-'))
afterAll(() => rmSync(dir, { recursive: true }))
let files = 0

function fileOf(text: string): string {
  const file = join(dir, `${files++}.toml`)
  writeFileSync(file, text, { mode: 0o600 })
  return file
}

function failure(args: DaemonArguments): PosternError {
  try {
    checkConfig(args)
  } catch (error) {
    if (error instanceof PosternError) return error
    throw error
  }
  throw new Error('it can be used')
}

describe('defaults', () => {
  it('are there for every key, and written out they are what rules without a file', () => {
    expect(Object.fromEntries(Object.entries(configDefaults).map(([section, keys]) => [section, Object.keys(keys)]))).toEqual(configKeys)
    for (const keys of Object.values(configDefaults)) expect(Object.values(keys)).not.toContain(undefined)
    const { keys } = checkConfig({ dir })
    expect(keys.every(({ from }) => from === 'default')).toBe(true)
    expect(parseConfig(checkedText(checkConfig({ dir })), 'printed')).toEqual(defaultConfig())
  })
})

describe('a configuration that can be used', () => {
  const file = fileOf('# mine\n[udp]\nport = 7000\nbind = [\n  "127.0.0.1",\n]\n[log]\nlevel = "warn"\n')

  it('says of each key where its value comes from; the command line goes before the file', () => {
    const { keys, present } = checkConfig({ dir, config: file, port: '7001', set: ['log.format=json'], logLevel: 'debug' })
    const of = (key: string): unknown => keys.find((candidate) => candidate.key === key)
    expect(present).toBe(true)
    expect(of('udp.port')).toEqual({ key: 'udp.port', value: 7001, from: 'option', option: '--port' })
    expect(of('udp.bind')).toEqual({ key: 'udp.bind', value: ['127.0.0.1'], from: 'file', line: 4 })
    expect(of('log.level')).toEqual({ key: 'log.level', value: 'debug', from: 'option', option: '--log-level' })
    expect(of('log.format')).toEqual({ key: 'log.format', value: 'json', from: 'option', option: '--set' })
    expect(of('session.idle')).toEqual({ key: 'session.idle', value: '10min', from: 'default' })
  })

  it('is printed as a file that means the same', () => {
    const text = checkedText(checkConfig({ dir, config: file }))
    expect(text).toMatch(/^# .*\.toml can be used\.\n\n\[udp\]\nport = 7000 +# line 3\nbind = \["127\.0\.0\.1"\] +# line 4\n/)
    expect(text).toMatch(/^level = "warn" +# line 8$/m)
    expect(parseConfig(text, 'printed')).toEqual(parseConfig('[udp]\nport = 7000\nbind = ["127.0.0.1"]\n[log]\nlevel = "warn"\n', 'x'))
  })
})

describe('one that cannot', () => {
  it('has everything wrong with it at once, in the order of the file', () => {
    const file = fileOf('[udp]\nprot = 1\n[session]\nidle = "soon"\n[acess]\napps = []\n[access]\napps = ["Dice"]\n')
    const text = checkFailedText(failure({ config: file }))
    expect(text.split('\n')).toEqual([
      `posternd: ${file} has 4 problems. [config]`,
      '  line 2: [udp] has no key "prot"; did you mean "port"?',
      expect.stringMatching(/^ {2}line 4: \[session\] idle must be a duration .* but is "soon"\.$/),
      '  line 5: there is no section "acess", and keys stand in sections; did you mean [access]?',
      expect.stringMatching(/^ {2}line 8: \[access\] apps must be a list of apps: .* but is "Dice"\.$/),
      '  config/postern.toml describes every key.',
      '',
    ])
  })

  it('with one problem it reads as a failed start does', () => {
    const file = fileOf('[udp]\nprot = 1\n')
    expect(checkFailedText(failure({ config: file }))).toBe(`posternd: ${file} line 2: [udp] has no key "prot"; did you mean "port"? [config]\n  The keys of [udp] are ${configKeys['udp']!.join(', ')}. config/postern.toml describes each.\n`)
    expect(checkFailedText(failure({ config: join(dir, 'none.toml') }))).toMatch(/none\.toml does not exist\. \[config\]\n {2}Correct --config/)
  })
})
