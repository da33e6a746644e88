import { CommanderError, type Command } from 'commander'
import { PosternError } from '../core/base/errors.ts'
import { nearest } from '../core/base/nearest.ts'

/** Makes mistakes in the command line errors like any other, instead of text that commander prints and an exit of its own. Before commands are added. */
export function withTypedUsage(program: Command): Command {
  return program.exitOverride().configureOutput({ outputError: () => undefined })
}

/** Whether `--json` was given, for mistakes that are found before the options are read. */
export function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return args.slice(0, end < 0 ? args.length : end).includes('--json')
}

/**
 * What commander threw: `shown` when it printed what was asked for (help, version), a `params` error for a mistake in the command
 * line, `undefined` when it was not commander that threw.
 */
export function usageError(error: unknown, program: Command, args: readonly string[]): PosternError | 'shown' | undefined {
  if (!(error instanceof CommanderError)) return undefined
  if (error.exitCode === 0) return 'shown'
  const { command, words, rest } = meant(program, args)
  return new PosternError('params', sentenceOf(error, command, rest), { hint: `How it is used: ${[...words, '--help'].join(' ')}`, cause: error })
}

function sentenceOf(error: CommanderError, command: Command, rest: string | undefined): string {
  const isCommand = error.code === 'commander.help' || error.code === 'commander.unknownCommand' || (error.code === 'commander.excessArguments' && command.commands.length > 0)
  if (isCommand && rest !== undefined) {
    const near = nearest(rest, command.commands.map((candidate) => candidate.name()))
    return `There is no command "${[...(command.parent === null ? [] : [command.name()]), rest].join(' ')}"${near === undefined ? '.' : `; did you mean ${near}?`}`
  }
  if (error.code === 'commander.help') return 'No command was given.'
  const [first = '', suggestion = ''] = error.message.split('\n')
  const fault = first.replace(/^error: /, '').replace(/\.$/, '').replaceAll('\'', '"')
  const near = /^\(Did you mean (?:one of )?(.*)\?\)$/.exec(suggestion)?.[1]
  return `${fault.charAt(0).toUpperCase()}${fault.slice(1)}${near === undefined ? '.' : `; did you mean ${near.replaceAll(', ', ' or ')}?`}`
}

/** The command that was meant as far as it can be told, how it is typed, and the first word behind it. */
function meant(program: Command, args: readonly string[]): { readonly command: Command; readonly words: readonly string[]; readonly rest: string | undefined } {
  const words = [program.name()]
  let command = program
  let rest: string | undefined
  let isValue = false
  for (const arg of args) {
    const skip = isValue
    isValue = arg.startsWith('-') && [...command.options, ...program.options].some((option) => option.required && (option.short === arg || option.long === arg))
    if (skip || arg.startsWith('-') || arg === 'help') continue
    const next = rest === undefined ? command.commands.find((candidate) => candidate.name() === arg) : undefined
    if (next === undefined) {
      rest ??= arg
      continue
    }
    words.push(arg)
    command = next
  }
  return { command, words, rest }
}
