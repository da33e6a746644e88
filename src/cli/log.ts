import type { IpcLogLevel, LogEvent } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { ipcLogLevels, LOG_HISTORY } from '../core/wire/ipc/ipc-subscribe.ts'
import { formatLine } from '../platform/log-format.ts'
import { parseCount } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { interruption, withClient } from './session.ts'

export interface LogOptions {
  readonly follow?: true
  readonly lines?: string
  readonly level?: string
}

const LINES_DEFAULT = '20'

/** The last lines of the daemon's log, and with `--follow` those that come, until Ctrl-C. */
export async function log(globals: Globals, options: LogOptions, output: Output): Promise<void> {
  const level = parseLevel(options.level ?? 'info')
  const lines = parseCount(options.lines ?? LINES_DEFAULT, '--lines', 0)
  if (lines > LOG_HISTORY) throw new PosternError('params', `The daemon keeps ${LOG_HISTORY} lines.`, { hint: `At most --lines ${LOG_HISTORY}; older ones are where its log goes.` })
  const stop = interruption()
  await withClient(globals, async (client) => {
    const subscription = await client.subscribe({ topics: ['log'], level, lines })
    stop.addEventListener('abort', () => void subscription.close(), { once: true })
    for await (const event of subscription) {
      if (event.name === 'event.log') print(event.params, output)
      else if (event.name === 'event.lost') output.progress(`postern: ${event.params.count} lines were left out; this terminal is too slow for them`)
      else if (event.name === 'event.synced' && options.follow !== true) return
    }
  })
}

function print(line: LogEvent, output: Output): void {
  const { time, level, part, message, fields } = line
  output.result('log', line, () => formatLine({ ...fields, time, level, part, msg: message }))
}

function parseLevel(text: string): IpcLogLevel {
  const level = ipcLogLevels.find((known) => known === text)
  if (level === undefined) throw new PosternError('params', `"${text}" is not a level for --level.`, { hint: `One of: ${ipcLogLevels.join(', ')}` })
  return level
}
