import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { PosternError } from '../../src/core/base/errors.ts'
import { usageError, wantsJson, withTypedUsage } from '../../src/platform/usage-error.ts'

function program(): Command {
  const made = withTypedUsage(new Command('tool')).configureOutput({ writeOut: () => undefined, writeErr: () => undefined }).version('1').option('--dir <path>')
  made.command('status').action(() => undefined)
  made.command('ping').argument('<peer>').option('-c, --count <number>').action(() => undefined)
  made.command('peers').action(() => undefined).command('remove').argument('<peer>').action(() => undefined)
  return made
}

function outcome(...args: string[]): PosternError | 'shown' | undefined {
  const made = program()
  try {
    made.parse(args, { from: 'user' })
    return undefined
  } catch (error) {
    return usageError(error, made, args)
  }
}

describe('a mistake in the command line', () => {
  it.each<[string[], string, string]>([
    [['stauts'], 'There is no command "stauts"; did you mean status?', 'tool --help'],
    [['--dir', 'ping', 'stauts'], 'There is no command "stauts"; did you mean status?', 'tool --help'],
    [['elephant'], 'There is no command "elephant".', 'tool --help'],
    [[], 'No command was given.', 'tool --help'],
    [['help', 'stauts'], 'There is no command "stauts"; did you mean status?', 'tool --help'],
    [['peers', 'remvoe', 'anna'], 'There is no command "peers remvoe"; did you mean remove?', 'tool peers --help'],
    [['peers', 'remove'], 'Missing required argument "peer".', 'tool peers remove --help'],
    [['ping'], 'Missing required argument "peer".', 'tool ping --help'],
    [['ping', 'a', 'b'], 'Too many arguments for "ping". Expected 1 argument but got 2.', 'tool ping --help'],
    [['ping', 'a', '--cuont', '3'], 'Unknown option "--cuont"; did you mean --count?', 'tool ping --help'],
    [['ping', 'a', '-c'], 'Option "-c, --count <number>" argument missing.', 'tool ping --help'],
  ])('%j is a params error that says what was meant', (args, message, hint) => {
    const error = outcome(...args)
    expect(error).toBeInstanceOf(PosternError)
    expect(error).toMatchObject({ code: 'params', message, hint: `How it is used: ${hint}` })
  })

  it('is none where help or the version was asked for, or all is well', () => {
    for (const args of [['--help'], ['--version'], ['ping', '--help'], ['help', 'ping']]) expect(outcome(...args), args.join(' ')).toBe('shown')
    expect(outcome('ping', 'a', '-c', '3')).toBeUndefined()
    expect(usageError(new Error('something else'), program(), [])).toBeUndefined()
  })
})

it('--json counts before -- only', () => {
  expect(wantsJson(['--json', 'x'])).toBe(true)
  expect(wantsJson(['send', 'a', '--json'])).toBe(true)
  expect(wantsJson(['send', 'a', '--', '--json'])).toBe(false)
  expect(wantsJson([])).toBe(false)
})
