/** What `posternd --check` prints for people. */
import type { PosternError } from '../../core/base/errors.ts'
import type { CheckedConfig } from '../command-line.ts'
import type { EffectiveKey } from './config.ts'
import type { ConfigProblem } from './config-problems.ts'

/** A configuration that can be used: the file once more, complete, each key with where its value comes from. It is TOML itself. */
export function checkedText(checked: CheckedConfig): string {
  const head = checked.present ? `${checked.file} can be used.` : `There is no ${checked.file}: the defaults rule.`
  return [`# ${head}`, ...checked.warnings.map((warning) => `# Warning: ${warning}`), ...sectionsText(checked.keys), ''].join('\n')
}

function sectionsText(keys: readonly EffectiveKey[]): readonly string[] {
  const lines: string[] = []
  let section = ''
  for (const { key, value, from, line, option } of keys) {
    const [own = '', name = ''] = key.split('.')
    if (own !== section) lines.push('', `[${own}]`)
    section = own
    const origin = from === 'default' ? 'default' : option ?? (line === undefined ? 'file' : `line ${line}`)
    lines.push(`${`${name} = ${JSON.stringify(value)}`.padEnd(44)} # ${origin}`)
  }
  return lines
}

/** Everything that is wrong, in the order of the file, and what to do. */
export function checkFailedText(error: PosternError): string {
  const problems = (error.details?.['problems'] ?? []) as readonly ConfigProblem[]
  const [first] = problems
  if (first === undefined || problems.length === 1) return `posternd: ${error.message} [${error.code}]\n${error.hint === undefined ? '' : `  ${error.hint}\n`}`
  const lines = problems.map(({ source, line, message }) => `  ${line === undefined ? source : `line ${line}`}: ${message}`)
  return `posternd: ${first.source} has ${problems.length} problems. [${error.code}]\n${lines.join('\n')}\n  config/postern.toml describes every key.\n`
}
