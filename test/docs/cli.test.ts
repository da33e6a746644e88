import { beforeAll, describe, expect, it } from 'vitest'
import { errorCodes } from '../../src/core/base/errors.ts'
import { exitStatus } from '../../src/core/base/exit-status.ts'
import { readText, run, sectionsOf } from './support.ts'

const page = readText('docs/cli.md')
const sections = sectionsOf(page)

/** `-c, --count <number>` of a help text as `-c`, `--count <number>` of the page. */
function optionsOf(help: string): string[] {
  const own = help.split(/^Global Options:$/m)[0]!
  return [...own.matchAll(/^ {2}(-[^\n]*?)(?: {2,}|$)/gm)].map((match) => match[1]!.split(', ').map((form) => `\`${form}\``).join(', '))
}

function argumentsOf(help: string): string[] {
  return [...(/^Usage: (.*)$/m.exec(help)?.[1] ?? '').matchAll(/<\w+>/g)].map((match) => match[0])
}

function commandsOf(help: string): string[] {
  const listed = /^Commands:\n((?: .*\n)*)/m.exec(help)?.[1] ?? ''
  return [...listed.matchAll(/^ {2}([a-z]+)(?: \[options\])?(?: [<[][\w-]+[>\]])* {2,}/gm)].map((match) => match[1]!).filter((name) => name !== 'help')
}

describe('docs/cli.md', () => {
  const commands: string[] = []

  beforeAll(async () => {
    for (const name of commandsOf((await run('cli', ['--help'])).out)) {
      const below = commandsOf((await run('cli', [name, '--help'])).out).map((second) => `${name} ${second}`)
      commands.push(name, ...below)
    }
  })

  it('has a section for each command, and no other', () => {
    expect(commands.length).toBeGreaterThan(8)
    const documented = [...sections.keys()].flatMap((heading) => /^postern ([a-z]+(?: [a-z]+)?)$/.exec(heading)?.[1] ?? [])
    expect(documented).toEqual(commands)
  })

  it('has every option of every command in its section, as the help writes it', async () => {
    for (const command of commands) {
      const { out } = await run('cli', [...command.split(' '), '--help'])
      const section = sections.get(`postern ${command}`)!
      const options = optionsOf(out).filter((option) => !option.includes('--help'))
      expect([command, options.filter((option) => !section.includes(`| ${option} |`))]).toEqual([command, []])
      expect([command, [...section.matchAll(/^\| (`-[^|]*`) \|/gm)].map((match) => match[1]!).filter((option) => !options.includes(option))]).toEqual([command, []])
      if (argumentsOf(out).length > 0) expect(section, `an example of ${command}`).toMatch(new RegExp(`^\\$ postern ${command} .`, 'm'))
      else expect(section, `an example of ${command}`).toMatch(new RegExp(`^\\$ postern ${command}`, 'm'))
    }
  })

  it('has the options of both programs', async () => {
    for (const [program, heading] of [['cli', 'postern: in general'], ['daemon', 'posternd']] as const) {
      const { out } = await run(program, ['--help'])
      const options = optionsOf(out)
      expect(options.length).toBeGreaterThan(3)
      expect(options.filter((option) => !sections.get(heading)!.includes(`| ${option} |`))).toEqual([])
    }
  })

  it('has the exit status of every code', () => {
    const rows = new Map([...sections.get('Exit statuses')!.matchAll(/^\| (\d+) \| [^|]* \| ([^|]*) \|$/gm)].map((match) => [Number(match[1]), match[2]!] as const))
    for (const code of errorCodes) {
      const status = exitStatus(code)
      if (status !== 1) expect([code, rows.get(status)?.includes(`\`${code}\``)]).toEqual([code, true])
    }
    for (const [status, codes] of rows) {
      for (const match of codes.matchAll(/`([a-z_]+)`/g)) expect([match[1], exitStatus(match[1] as (typeof errorCodes)[number])]).toEqual([match[1], status])
    }
  })
})
