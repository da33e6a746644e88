import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { fromUtf8, utf8, wipe } from '../../core/base/bytes.ts'
import { PosternError } from '../../core/base/errors.ts'

/** A terminal that a passphrase can be asked on: a part of `tty.ReadStream` and `tty.WriteStream`. */
export interface Terminal {
  readonly input: {
    setRawMode(raw: boolean): unknown
    on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
    off(event: 'data', listener: (chunk: Uint8Array) => void): unknown
    resume(): unknown
    pause(): unknown
  }
  readonly output: { write(text: string): unknown }
}

export interface PassphraseSources {
  readonly env: Partial<Record<string, string>>
  /** `[store] passphrase_file` */
  readonly file: string | undefined
  /** `undefined` where nobody sits at a terminal. */
  readonly terminal: Terminal | undefined
}

const PASSPHRASE_SIZE_MAX = 1024
/** Others may do nothing, the group may read: systemd's credentials are 0440, with the user in an access list. */
const FORBIDDEN_MODE = 0o027

/**
 * The passphrase of the store as UTF-8 bytes, which the caller wipes: from POSTERN_PASSPHRASE (taken out of the environment, so
 * that no child process inherits it), else from the file, else asked on the terminal. Throws `passphrase` when there is none.
 */
export async function readPassphrase(sources: PassphraseSources, prompt = 'Passphrase: '): Promise<Uint8Array> {
  const fromEnvironment = sources.env['POSTERN_PASSPHRASE']
  if (fromEnvironment !== undefined) {
    delete sources.env['POSTERN_PASSPHRASE']
    return checked(utf8(fromEnvironment), 'POSTERN_PASSPHRASE')
  }
  if (sources.file !== undefined) return checked(readSecretFile(sources.file), sources.file)
  if (sources.terminal !== undefined) return checked(await ask(sources.terminal, prompt), 'the passphrase')
  throw new PosternError('passphrase', 'The store is locked with a passphrase and there is none to open it with.', {
    hint: 'Set [store] passphrase_file in postern.toml, or POSTERN_PASSPHRASE, or start from a terminal.',
  })
}

/** The first line of a file that only its owner can read. */
function readSecretFile(file: string): Uint8Array {
  let bytes: Uint8Array
  try {
    // Mode and content of one open file, not of a name that may change in between.
    const descriptor = openSync(file, 'r')
    try {
      if (process.platform !== 'win32' && (fstatSync(descriptor).mode & FORBIDDEN_MODE) !== 0) {
        throw new PosternError('passphrase', `The passphrase file ${file} can be read by other users.`, { hint: `Run: chmod 600 ${file}`, details: { file } })
      }
      bytes = readFileSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    if (error instanceof PosternError) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'other'
    throw new PosternError('passphrase', `The passphrase file ${file} cannot be read (${code}).`, { hint: 'Check [store] passphrase_file and the owner of that file.', cause: error, details: { file } })
  }
  const end = bytes.findIndex((byte) => byte === 0x0a || byte === 0x0d)
  // A copy by its constructor: the slice of a Buffer is a view, which the next line would wipe as well.
  const line = new Uint8Array(bytes.subarray(0, end < 0 ? bytes.length : end))
  wipe(bytes)
  return line
}

function checked(passphrase: Uint8Array, source: string): Uint8Array {
  if (passphrase.length === 0) throw new PosternError('passphrase', `${source} is empty.`, { hint: 'A passphrase has at least one character; 20 random ones are a good one.' })
  if (passphrase.length > PASSPHRASE_SIZE_MAX || fromUtf8(passphrase) === undefined) {
    throw new PosternError('passphrase', `${source} is not a line of UTF-8 text of at most ${PASSPHRASE_SIZE_MAX} bytes.`, { hint: 'Check that it is the right file.' })
  }
  return passphrase
}

const keys = { interrupt: 3, endOfInput: 4, backspace: 8, lineFeed: 10, carriageReturn: 13, eraseLine: 21, delete: 127 } as const

/** One line typed without an echo. */
function ask(terminal: Terminal, prompt: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const typed = new Uint8Array(PASSPHRASE_SIZE_MAX + 1)
    let length = 0
    const finish = (): void => {
      terminal.input.off('data', onData)
      terminal.input.setRawMode(false)
      terminal.input.pause()
      terminal.output.write('\n')
    }
    const onData = (chunk: Uint8Array): void => {
      for (const byte of chunk) {
        if (byte === keys.lineFeed || byte === keys.carriageReturn) {
          finish()
          resolve(typed.slice(0, length))
          wipe(typed)
          return
        }
        if (byte === keys.interrupt || byte === keys.endOfInput) {
          finish()
          wipe(typed)
          reject(new PosternError('passphrase', 'No passphrase was typed.', { hint: 'Start again and type it, or set [store] passphrase_file.' }))
          return
        }
        if (byte === keys.backspace || byte === keys.delete) length = characterBefore(typed, length)
        else if (byte === keys.eraseLine) length = 0
        else if (length < typed.length) typed[length++] = byte
      }
    }
    terminal.output.write(prompt)
    terminal.input.setRawMode(true)
    terminal.input.on('data', onData)
    terminal.input.resume()
  })
}

/** Where the last UTF-8 character begins. */
function characterBefore(bytes: Uint8Array, length: number): number {
  let at = Math.max(0, length - 1)
  while (at > 0 && (bytes[at]! & 0xc0) === 0x80) at--
  return at
}
