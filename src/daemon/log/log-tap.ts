import { ipcLogLevels, LOG_HISTORY, type IpcLogLevel } from '../../core/wire/ipc/ipc-subscribe.ts'
import type { LogEvent } from '../../core/wire/ipc/ipc-topics.ts'

/** The log, for who reads along. */
export interface LogTap {
  /** Calls back for each line of this level or graver, also where the log itself is less detailed, until the returned function is called. */
  tap(level: IpcLogLevel, listener: (line: LogEvent) => void): () => void
  /** The last lines that were written, of this level or graver, oldest first. */
  latest(level: IpcLogLevel, count: number): readonly LogEvent[]
}

/** A longer line is told without its fields. */
const LINE_MAX = 16_384
/** Characters of all lines that are kept: beyond it, or beyond {@link LOG_HISTORY} lines, the oldest go. */
const HISTORY_SIZE_MAX = 1 << 20

interface Tap {
  readonly rank: number
  readonly listener: (line: LogEvent) => void
}

/** Lines of the log on their way to clients, and the last of them for who asks later. */
export class LogTaps implements LogTap {
  readonly #onLevel: () => void
  readonly #taps = new Set<Tap>()
  readonly #history: { readonly rank: number; readonly json: string }[] = []
  #historySize = 0

  /** @param onLevel the most detailed level that is tapped has changed. */
  constructor(onLevel: () => void) {
    this.#onLevel = onLevel
  }

  /** The most detailed level that is tapped. */
  get level(): IpcLogLevel | undefined {
    return ipcLogLevels.find((_level, rank) => [...this.#taps].some((tap) => tap.rank === rank))
  }

  tap(level: IpcLogLevel, listener: (line: LogEvent) => void): () => void {
    const tap = { rank: rankOf(level), listener }
    this.#taps.add(tap)
    this.#onLevel()
    return () => {
      this.#taps.delete(tap)
      this.#onLevel()
    }
  }

  latest(level: IpcLogLevel, count: number): readonly LogEvent[] {
    const rank = rankOf(level)
    return this.#history.filter((line) => line.rank >= rank).slice(-count).map(({ json }) => lineOf(json))
  }

  /** One line of JSON. `written`: it goes into the log as well, and is kept. */
  line(level: IpcLogLevel, json: string, written: boolean): void {
    const rank = rankOf(level)
    if (written) this.#keep(rank, json)
    let line: LogEvent | undefined
    for (const tap of this.#taps) {
      if (rank < tap.rank) continue
      line ??= lineOf(json)
      tap.listener(line)
    }
  }

  #keep(rank: number, json: string): void {
    const kept = json.length <= LINE_MAX ? json : JSON.stringify(shortened(json))
    this.#history.push({ rank, json: kept })
    this.#historySize += kept.length
    while (this.#history.length > LOG_HISTORY || this.#historySize > HISTORY_SIZE_MAX) this.#historySize -= this.#history.shift()!.json.length
  }
}

function rankOf(level: IpcLogLevel): number {
  return ipcLogLevels.indexOf(level)
}

type Line = Readonly<Record<string, unknown>> & { readonly time: string; readonly level: IpcLogLevel; readonly msg: string; readonly part?: string }

function lineOf(json: string): LogEvent {
  const { time, level, part, msg, ...fields } = json.length <= LINE_MAX ? (JSON.parse(json) as Line) : shortened(json)
  return { time, level, ...(part === undefined ? {} : { part }), message: msg, fields }
}

function shortened(json: string): Line {
  const { time, level, part, msg } = JSON.parse(json) as Line
  return { time, level, ...(part === undefined ? {} : { part }), msg, omitted: `${json.length} characters` }
}
