#!/usr/bin/env node
import { exitStatus } from '../core/base/exit-status.ts'
import { usageError, wantsJson } from '../platform/usage-error.ts'
import { Output, printError, type Globals } from './output.ts'
import { makeProgram } from './program.ts'

/** One command: its failure is printed in one place, and sets the exit status. */
async function main(args: readonly string[]): Promise<void> {
  const json = wantsJson(args)
  const fail = (error: unknown): void => {
    process.exitCode = exitStatus(printError(error, json).code)
  }
  const program = makeProgram((action) => {
    const globals = program.opts<Globals>()
    return action(globals, new Output(globals)).catch(fail)
  })
  // Without a command it prints its help to standard error, which is no place for people when a program reads.
  if (json) program.configureOutput({ writeErr: () => undefined })
  try {
    await program.parseAsync(args, { from: 'user' })
  } catch (error) {
    const usage = usageError(error, program, args)
    if (usage !== 'shown') fail(usage ?? error)
  }
}

await main(process.argv.slice(2))
