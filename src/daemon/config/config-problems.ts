import type { z } from 'zod'
import { PosternError } from '../../core/base/errors.ts'
import { nearest } from '../../core/base/nearest.ts'
import { configKeys } from './config-schema.ts'
import { placeOf } from './config-locate.ts'

/** One thing that is wrong, where, and as a sentence. */
export interface ConfigProblem {
  /** The file, or the command line option. */
  readonly source: string
  /** From 1; `undefined` for an option of the command line. */
  readonly line: number | undefined
  /** `udp.port`; `undefined` for a file that is no TOML at all. */
  readonly key: string | undefined
  readonly message: string
}

/** Where a key was written: the command line goes before the file. `undefined` when nowhere. */
export type Locate = (place: string) => { readonly source: string; readonly line: number | undefined } | undefined

/** All issues of the schema as problems, in the order of the file. */
export function problemsOf(issues: readonly z.core.$ZodIssue[], locate: Locate, file: string): readonly ConfigProblem[] {
  return issues.flatMap((issue) => problemsOfIssue(issue, locate, file)).sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
}

/** The error that the start ends with: the first problem, and how many more there are. */
export function configError(problems: readonly ConfigProblem[], cause?: unknown): PosternError {
  const first = problems[0]!
  const place = first.line === undefined ? first.source : `${first.source} line ${first.line}`
  const more = problems.length === 1 ? '' : ` (and ${problems.length - 1} more)`
  return new PosternError('config', `${place}: ${first.message}${more}`, {
    hint: hintFor(first),
    details: { file: first.source, line: first.line, key: first.key, problems },
    ...(cause === undefined ? {} : { cause }),
  })
}

function hintFor(problem: ConfigProblem): string {
  const section = problem.key?.split('.')[0] ?? ''
  const keys = configKeys[section]
  const known = keys === undefined ? `The sections are ${Object.keys(configKeys).map((name) => `[${name}]`).join(', ')}.` : `The keys of [${section}] are ${keys.join(', ')}.`
  return problem.key === undefined ? 'Correct that line and start again.' : `${known} config/postern.toml describes each.`
}

function problemsOfIssue(issue: z.core.$ZodIssue, locate: Locate, file: string): readonly ConfigProblem[] {
  const path = issue.path.map(String)
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((name) => problem([...path, name], unknownKey(path[0], name), locate, file))
    case 'invalid_type':
      return [problem(path, `[${path.join('.')}] is a section, so it holds keys and is no value itself.`, locate, file)]
    case 'custom': {
      const against: unknown = issue.params?.['against']
      const rivals = typeof against === 'string' ? [path, [...path.slice(0, -1), against]] : [path]
      const written = rivals.find((rival) => locate(placeOf(rival)) !== undefined) ?? path
      return [problem(written, `[${path[0] ?? ''}] ${path.slice(1).join('.')} ${issue.message}.`, locate, file)]
    }
    default:
      return [problem(path, `${path.join('.')}: ${issue.message}.`, locate, file)]
  }
}

function problem(path: readonly string[], message: string, locate: Locate, file: string): ConfigProblem {
  const place = locate(placeOf(path)) ?? locate(placeOf(path.slice(0, -1)))
  return { source: place?.source ?? file, line: place?.line, key: path.join('.'), message }
}

/** Only the name is shown: the value of a key that should not be there may be a secret in the wrong place. */
function unknownKey(section: string | undefined, name: string): string {
  const shown = JSON.stringify(name.length <= 60 ? name : `${name.slice(0, 57)}…`)
  const fault = section === undefined ? `there is no section ${shown}, and keys stand in sections` : `[${section}] has no key ${shown}`
  const near = nearest(name.replaceAll('-', '_'), section === undefined ? Object.keys(configKeys) : configKeys[section] ?? [])
  if (near !== undefined) return `${fault}; did you mean ${section === undefined ? `[${near}]` : `"${near}"`}?`
  const home = sectionsWith(name)[0]
  return home === undefined ? `${fault}.` : `${fault}; did you mean "${name}" in [${home}]?`
}

function sectionsWith(name: string): readonly string[] {
  return Object.entries(configKeys).filter(([, keys]) => keys.includes(name)).map(([section]) => section)
}
