import { pino, stdTimeFunctions, type Logger } from 'pino'
import type { LogFormat, LogLevel } from '../config/config-schema.ts'
import { formatText } from '../../platform/log-format.ts'
import { RateLimit, type RateSystem } from './log-rate.ts'
import { Redactor } from './log-redact.ts'
import { openSink, type LogSink } from './log-sink.ts'
import { LogTaps, type LogTap } from './log-tap.ts'
import { ipcLogLevels, type IpcLogLevel } from '../../core/wire/ipc/ipc-subscribe.ts'
import type { LogEvent } from '../../core/wire/ipc/ipc-topics.ts'

export type LogFields = Readonly<Record<string, unknown>>

/**
 * One line per call. The message is a constant sentence and what varies goes into the fields: the message is what warnings are
 * counted by, and what an operator searches for. Fields are made fit to print ({@link Redactor}).
 */
export interface Log {
  trace(message: string, fields?: LogFields): void
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  /** The same log for one part of the daemon, named in each of its lines. */
  part(name: string): Log
  /** Whether lines of this level are written: for fields that cost something to gather. */
  enabled(level: LogLevel): boolean
}

export interface LogOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** `undefined` = standard error. */
  readonly file?: string | undefined
  /** In place of a file, for tests and for commands that collect the lines. */
  readonly sink?: LogSink
  readonly rateSystem?: RateSystem
}

/** The same warning or error is written so often in {@link RATE_INTERVAL_MS}; the rest is counted. */
const RATE_BURST = 10
const RATE_INTERVAL_MS = 10_000

/** By it, pino tells its stream the level of each line: 10 for trace, … 50 for error. */
const PINO_METADATA = Symbol.for('pino.metadata')

interface PinoStream {
  readonly [PINO_METADATA]: true
  lastLevel: number
  write(line: string): void
}

/** The daemon's log: {@link Log} and what only its owner does with it. */
export class DaemonLog implements Log, LogTap {
  readonly #sink: LogSink
  readonly #redactor = new Redactor()
  readonly #root: Logger
  readonly #main: PartLog
  readonly #limit: RateLimit
  readonly #taps = new LogTaps(() => this.#applyLevel())
  #level: LogLevel

  /** Throws `unwritable` when the file cannot be opened. */
  constructor(options: LogOptions) {
    const sink = options.sink ?? openSink(options.file)
    this.#sink = sink
    this.#level = options.level
    const lines: PinoStream = {
      [PINO_METADATA]: true,
      lastLevel: 0,
      write: (line) => {
        const level = ipcLogLevels[lines.lastLevel / 10 - 1] ?? 'error'
        const written = ipcLogLevels.indexOf(level) >= ipcLogLevels.indexOf(this.#level)
        if (written) sink.write(options.format === 'text' ? formatText(line) : line)
        this.#taps.line(level, line, written)
      },
    }
    this.#root = pino({
      level: options.level, base: null, timestamp: stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) },
    }, lines)
    this.#limit = new RateLimit({ burst: RATE_BURST, intervalMs: RATE_INTERVAL_MS }, (key, suppressed) => this.#tellSuppressed(key, suppressed), options.rateSystem)
    this.#main = new PartLog(this.#root, this.#redactor, this.#limit, '')
  }

  trace(message: string, fields?: LogFields): void {
    this.#main.trace(message, fields)
  }

  debug(message: string, fields?: LogFields): void {
    this.#main.debug(message, fields)
  }

  info(message: string, fields?: LogFields): void {
    this.#main.info(message, fields)
  }

  warn(message: string, fields?: LogFields): void {
    this.#main.warn(message, fields)
  }

  error(message: string, fields?: LogFields): void {
    this.#main.error(message, fields)
  }

  part(name: string): Log {
    return this.#main.part(name)
  }

  enabled(level: LogLevel): boolean {
    return this.#main.enabled(level)
  }

  get level(): LogLevel {
    return this.#level
  }

  /** Takes effect at once, in all parts. */
  set level(level: LogLevel) {
    this.#level = level
    this.#applyLevel()
  }

  tap(level: IpcLogLevel, listener: (line: LogEvent) => void): () => void {
    return this.#taps.tap(level, listener)
  }

  latest(level: IpcLogLevel, count: number): readonly LogEvent[] {
    return this.#taps.latest(level, count)
  }

  /** Who reads along may want more than the log holds. */
  #applyLevel(): void {
    const wanted = this.#taps.level ?? this.#level
    this.#root.level = ipcLogLevels.indexOf(wanted) < ipcLogLevels.indexOf(this.#level) ? wanted : this.#level
  }

  /** From now on this value appears in no line, not even inside a longer text. For passphrases, keys and tokens as they are read. */
  hide(secret: string | Uint8Array): void {
    this.#redactor.hide(secret)
  }

  /** Opens the file anew by its name; nothing is lost in between. */
  reopen(): void {
    this.#sink.reopen()
    this.info('log reopened')
  }

  /** Reopens at every SIGHUP, as log rotation asks for, until the returned function is called. */
  reopenOnHangup(): () => void {
    const reopen = (): void => this.reopen()
    process.on('SIGHUP', reopen)
    return () => process.off('SIGHUP', reopen)
  }

  /** Writes what is buffered before it returns: before a process ends in an error. */
  flush(): void {
    this.#limit.flush()
    this.#sink.flush()
  }

  stats(): Readonly<Record<string, number>> {
    return { log_lines_lost: this.#sink.lost }
  }

  /** Lines after this are not written. */
  async close(): Promise<void> {
    this.#limit.flush()
    await this.#sink.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #tellSuppressed(key: string, suppressed: number): void {
    const [level = 'warn', part = '', message = ''] = key.split('\n')
    this.#root[level === 'error' ? 'error' : 'warn']({ ...(part === '' ? {} : { part }), suppressed, intervalS: RATE_INTERVAL_MS / 1000 }, message)
  }
}

class PartLog implements Log {
  readonly #pino: Logger
  readonly #redactor: Redactor
  readonly #limit: RateLimit
  readonly #part: string

  constructor(root: Logger, redactor: Redactor, limit: RateLimit, part: string) {
    this.#pino = root
    this.#redactor = redactor
    this.#limit = limit
    this.#part = part
  }

  trace(message: string, fields?: LogFields): void {
    if (this.enabled('trace')) this.#pino.trace(this.#clean(fields), this.#redactor.text(message))
  }

  debug(message: string, fields?: LogFields): void {
    if (this.enabled('debug')) this.#pino.debug(this.#clean(fields), this.#redactor.text(message))
  }

  info(message: string, fields?: LogFields): void {
    if (this.enabled('info')) this.#pino.info(this.#clean(fields), this.#redactor.text(message))
  }

  warn(message: string, fields?: LogFields): void {
    if (this.enabled('warn') && this.#admits('warn', message)) this.#pino.warn(this.#clean(fields), this.#redactor.text(message))
  }

  error(message: string, fields?: LogFields): void {
    if (this.enabled('error') && this.#admits('error', message)) this.#pino.error(this.#clean(fields), this.#redactor.text(message))
  }

  part(name: string): Log {
    return new PartLog(this.#pino, this.#redactor, this.#limit, this.#part === '' ? name : `${this.#part}/${name}`)
  }

  enabled(level: LogLevel): boolean {
    return this.#pino.isLevelEnabled(level)
  }

  #admits(level: 'warn' | 'error', message: string): boolean {
    return this.#limit.admits(`${level}\n${this.#part}\n${this.#redactor.text(message).replaceAll('\n', ' ')}`)
  }

  #clean(fields: LogFields | undefined): object {
    const clean = fields === undefined ? {} : this.#redactor.fields(fields)
    // The line's own members are not a caller's to set.
    const { time: _time, level: _level, msg: _msg, part: _part, ...rest } = clean
    return this.#part === '' ? rest : { part: this.#part, ...rest }
  }
}
