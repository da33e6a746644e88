import { closeSync, openSync } from 'node:fs'
import { once } from 'node:events'
import { destination } from 'pino'
import { PosternError } from '../../core/base/errors.ts'

/** Where finished lines go. */
export interface LogSink {
  write(line: string): void
  /** Opens the file anew by its name, after someone moved it away. */
  reopen(): void
  /** Writes what is buffered, in this very call: for the last words of a process. */
  flush(): void
  close(): Promise<void>
  /** Lines lost because the disk was full, slow or gone. */
  readonly lost: number
}

/** Unwritten bytes; beyond them lines are dropped and counted, so that a stuck disk costs lines and not memory. */
const BUFFER_MAX = 4 << 20

/**
 * Standard error, or a file of mode 0600. Writes never wait for the disk. Throws `unwritable` when the file cannot be opened now;
 * when it fails later, lines are counted as lost and written again once it works.
 */
export function openSink(file: string | undefined): LogSink {
  if (file !== undefined) probe(file)
  const stream = destination({ dest: file ?? 2, sync: false, append: true, mode: 0o600, maxLength: BUFFER_MAX })
  let lost = 0
  let open = true
  let failing = false
  stream.on('drop', () => lost++)
  stream.on('error', (error: Error) => {
    // Once per outage, and where an operator looks when the log is silent.
    if (!failing && file !== undefined) process.stderr.write(`posternd: cannot write the log ${file}: ${error.message}\n`)
    failing = true
  })
  stream.on('write', () => (failing = false))
  const flush = (): void => {
    try {
      stream.flushSync()
    } catch {
      // Not open yet, or gone: there is nowhere left to say so.
    }
  }
  process.on('exit', flush)
  return {
    write: (line) => {
      if (open) stream.write(line)
    },
    reopen: () => {
      if (open && file !== undefined) stream.reopen()
    },
    flush,
    close: async () => {
      if (!open) return
      open = false
      process.off('exit', flush)
      const closed = once(stream, 'close')
      stream.end()
      await Promise.race([closed, once(stream, 'error')])
    },
    get lost() {
      return lost
    },
  }
}

function probe(file: string): void {
  try {
    closeSync(openSync(file, 'a', 0o600))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'other'
    throw new PosternError('unwritable', `The log file ${file} cannot be written (${code}).`, { hint: 'Correct [log] file in postern.toml; its directory must exist and be writable.', cause: error, details: { file } })
  }
}
