import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { DaemonBuild, Settings } from './case.ts'

export interface BenchOptions {
  readonly settings: Settings
  /** Names of the cases to run; empty = all. */
  readonly cases: readonly string[]
  /** Where the results go; `undefined` = the usual place, `-` = standard output. */
  readonly json: string | undefined
  /** Where charts and the page with all figures go; `undefined` = docs/bench, when everything was measured. */
  readonly charts: string | undefined
  /** The case to profile. */
  readonly profile: string | undefined
  readonly out: string | undefined
  readonly list: boolean
  /** Results to make the pages of, in place of measuring. */
  readonly page: string | undefined
}

export const usage = `npm run bench -- [options]

  --case <name>[,<name>…]   only these; a name may end in * (--list shows them all)
  --rounds <n>              repetitions, interleaved over all cases (3)
  --seconds <n>             of measuring, per repetition (2)
  --patience <seconds>      wait so long before each measurement for others to leave the machine alone, and repeat what they disturbed (0)
  --quick                   small and short: to see that everything runs; held against no goal, not for quoting
  --json <file>             where the results go (bench/results/<date>-<host>.json); - is standard output
  --charts <directory>      where charts and a page with all figures go (docs/bench when everything is measured, else nowhere)
  --profile <case>          profile the processes of one case and print where their time goes
  --out <directory>         where the profiles go (a temporary directory)
  --daemon <name>=<file>    measure this posternd (…/daemon/main.js of a build) too, in turn with the checkout's; may be repeated
  --page <file>             measures nothing: writes docs/bench and the goals of docs/performance.md from these results
  --list                    the cases
  --help

Libraries to compare with are installed by \`npm ci --prefix bench\`; without them their lines say so. \`npm run bench:check\` is the guard against
regressions: it compares CPU per message with what is committed.`

/** Throws an error with one plain sentence for a wrong command line. `undefined` = help was asked for. */
export function readOptions(args: readonly string[], own: DaemonBuild): BenchOptions | undefined {
  const { values } = parseArgs({
    args: [...args], strict: true, allowPositionals: false,
    options: {
      case: { type: 'string', multiple: true }, rounds: { type: 'string' }, patience: { type: 'string' }, seconds: { type: 'string' }, quick: { type: 'boolean' }, json: { type: 'string' }, charts: { type: 'string' },
      profile: { type: 'string' }, out: { type: 'string' }, daemon: { type: 'string', multiple: true }, list: { type: 'boolean' }, page: { type: 'string' }, help: { type: 'boolean' },
    },
  })
  if (values.help === true) return undefined
  const quick = values.quick ?? false
  const profiled = values.profile !== undefined
  return {
    settings: {
      quick,
      rounds: positive('rounds', values.rounds, quick || profiled ? 1 : 3, true),
      seconds: positive('seconds', values.seconds, quick ? 0.5 : profiled ? 5 : 2, false),
      patience: values.patience === undefined ? 0 : positive('patience', values.patience, 0, false),
      builds: [own, ...(values.daemon ?? []).map(readBuild)],
    },
    cases: values.profile !== undefined ? [values.profile] : (values.case ?? []).flatMap((names) => names.split(',')),
    json: values.json, charts: values.charts, profile: values.profile, out: values.out, list: values.list ?? false, page: values.page === undefined ? undefined : resolve(values.page),
  }
}

function positive(name: string, text: string | undefined, initial: number, whole: boolean): number {
  if (text === undefined) return initial
  const value = Number(text)
  if (!(value > 0) || value > 3600 || (whole && !Number.isInteger(value))) throw new Error(`--${name} is a ${whole ? 'whole ' : ''}number above 0, not ${text}.`)
  return value
}

function readBuild(text: string): DaemonBuild {
  const at = text.indexOf('=')
  const name = text.slice(0, at)
  const main = resolve(text.slice(at + 1))
  if (at < 1 || !existsSync(main)) throw new Error(`--daemon is <name>=<file of a posternd>; ${text} is not.`)
  return { name, main }
}
