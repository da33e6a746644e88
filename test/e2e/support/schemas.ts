import { resultSchemas } from '../../../src/cli/result-schemas.ts'
import type { CommandResults, ResultName } from '../../../src/cli/results.ts'

/** Which schema describes what this command line prints. */
export function resultNameOf(args: readonly string[]): ResultName {
  const [command = '', second = ''] = args.filter((arg) => arg !== '--json')
  const name = command === 'invite' && args.includes('--list') ? 'invite-list' : command === 'invite' && args.includes('--revoke') ? 'invite-revoke'
    : `${command}-${second}` in resultSchemas ? `${command}-${second}` : command
  if (!(name in resultSchemas)) throw new Error(`no schema for: postern ${args.join(' ')}`)
  return name as ResultName
}

/** One printed line as what its published schema says. Throws for a member that the schema does not have, too: it would not be documented. */
export function readResult<Name extends ResultName>(name: Name, line: string): CommandResults[Name] {
  const value: unknown = JSON.parse(line)
  const parsed = resultSchemas[name].safeParse(value)
  if (!parsed.success) throw new Error(`${line}\nis not docs/schemas/${name}.schema.json: ${parsed.error.message}`)
  const undocumented = missing(value, parsed.data, name)
  if (undocumented !== undefined) throw new Error(`${undocumented} is not in docs/schemas/${name}.schema.json`)
  return parsed.data
}

/** The first member of `value` that `kept` has not: a schema drops what it does not know. */
function missing(value: unknown, kept: unknown, place: string): string | undefined {
  if (typeof value !== 'object' || value === null || typeof kept !== 'object' || kept === null) return undefined
  for (const [key, member] of Object.entries(value)) {
    if (!Object.hasOwn(kept, key)) return `${place}.${key}`
    const below = missing(member, (kept as Readonly<Record<string, unknown>>)[key], `${place}.${key}`)
    if (below !== undefined) return below
  }
  return undefined
}
