import { PosternError, type ErrorCode } from '../core/base/errors.ts'
import type { Globals, Output } from './output.ts'
import { posterndError, runPosternd } from './posternd.ts'
import type { ConfigKey, ErrorResult } from './results.ts'
import { table } from './text.ts'

export interface ConfigOptions {
  readonly config?: string
  readonly set?: readonly string[]
}

interface Checked {
  readonly file: string
  readonly present: boolean
  readonly warnings: readonly string[]
  readonly keys: readonly ConfigKey[]
}

/** Whether a daemon could start with this configuration, as the daemon itself sees it. Fails with every problem at once. */
export async function configCheck(globals: Globals, options: ConfigOptions, output: Output): Promise<void> {
  const { file, present, warnings, keys } = await checked(globals, options)
  const set = keys.filter(({ from }) => from !== 'default').length
  output.result('config-check', { valid: true, file: present ? file : null, set, warnings }, () => [
    present ? `${file} can be used.` : `There is no ${file}: the defaults rule.`,
    `${set === 0 ? 'No key is' : set === 1 ? '1 key is' : `${set} keys are`} set, ${set === 0 ? 'all' : `the other ${keys.length - set}`} have their defaults. All of them: postern config show`,
    ...warnings.map((warning) => `Warning: ${warning}`),
  ].join('\n'))
}

/** Every key with the value that rules and where it comes from, as a complete configuration file. */
export async function configShow(globals: Globals, options: ConfigOptions, output: Output): Promise<void> {
  const { file, present, keys } = await checked(globals, options)
  output.result('config-show', { file: present ? file : null, keys }, () => [
    present ? `# ${file}` : `# There is no ${file}: the defaults rule.`,
    ...[...new Set(keys.map(({ key }) => sectionOf(key)))].flatMap((section) => ['', `[${section}]`, ...sectionText(keys.filter(({ key }) => sectionOf(key) === section))]),
  ].join('\n'))
}

function sectionOf(key: string): string {
  return key.split('.')[0]!
}

function sectionText(keys: readonly ConfigKey[]): readonly string[] {
  const rows = keys.map(({ key, value, from, line, option }) => [
    `${key.slice(sectionOf(key).length + 1)} = ${JSON.stringify(value)}`, `# ${from === 'default' ? 'default' : option ?? (line === undefined ? 'file' : `line ${line}`)}`,
  ])
  return table(rows).split('\n')
}

async function checked(globals: Globals, options: ConfigOptions): Promise<Checked> {
  const args = ['--check', '--json']
  if (globals.dir !== undefined) args.push('--dir', globals.dir)
  if (options.config !== undefined) args.push('--config', options.config)
  for (const set of options.set ?? []) args.push('--set', set)
  const outcome = await runPosternd(args)
  if (outcome.out === '') throw posterndError(outcome)
  const answer = JSON.parse(outcome.out) as Checked | ErrorResult
  if ('error' in answer) throw configError(answer.error)
  return answer
}

function configError({ code, message, hint, problems }: ErrorResult['error']): PosternError {
  const first = problems?.[0]
  const several = first !== undefined && problems!.length > 1
  return new PosternError(code as ErrorCode, several ? `${first.source} has ${problems!.length} problems.` : message, {
    ...(several ? { hint: 'config/postern.toml describes every key, with its default: postern config show' } : hint === undefined ? {} : { hint }),
    ...(problems === undefined ? {} : { details: { problems } }),
  })
}
