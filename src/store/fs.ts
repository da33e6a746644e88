import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, mkdir, open, readdir, realpath, rename, unlink, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PosternError } from '../core/base/errors.ts'

/** `create` makes a new file 0600 for writing and fails with EEXIST; `directory` is for {@link FsFile.stat} and {@link FsFile.sync}. */
export type OpenMode = 'read' | 'create' | 'directory'

export interface FsStat {
  readonly kind: 'file' | 'directory' | 'other'
  readonly size: number
  /** The twelve permission bits. */
  readonly mode: number
  readonly uid: number
}

/**
 * An open file. Errors are the system's, with `code`, and may come at every call: tests make them come. {@link FsFile.read} and
 * {@link FsFile.write} may do less than asked, as the system calls may.
 */
export interface FsFile {
  stat(): Promise<FsStat>
  read(into: Uint8Array, position: number): Promise<number>
  write(bytes: Uint8Array, position: number): Promise<number>
  /** fsync: content and size, and for a directory its names, are on the disk when it resolves. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** What the store asks of a file system. All of it runs in libuv's threads, so a slow disk stalls no packet. */
export interface Fs {
  open(path: string, mode: OpenMode): Promise<FsFile>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  list(directory: string): Promise<string[]>
  /** Makes one directory, 0700. */
  makeDirectory(path: string): Promise<void>
  setMode(path: string, mode: number): Promise<void>
  /** The path without symbolic links. */
  realPath(path: string): Promise<string>
}

const flags: Record<OpenMode, number> = {
  // O_NONBLOCK: opening a named pipe that somebody put in the place of a file must not hang.
  read: constants.O_RDONLY | constants.O_NONBLOCK,
  create: constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
  directory: constants.O_RDONLY | constants.O_DIRECTORY,
}

class NodeFile implements FsFile {
  readonly #handle: FileHandle

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  async stat(): Promise<FsStat> {
    const stat = await this.#handle.stat()
    return { kind: stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : 'other', size: stat.size, mode: stat.mode & 0o7777, uid: stat.uid }
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, position)).bytesRead
  }

  async write(bytes: Uint8Array, position: number): Promise<number> {
    return (await this.#handle.write(bytes, 0, bytes.length, position)).bytesWritten
  }

  sync(): Promise<void> {
    return this.#handle.sync()
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

/** The machine's own file system. */
export const nodeFs: Fs = {
  open: async (path, mode) => new NodeFile(await open(path, flags[mode], 0o600)),
  rename,
  remove: unlink,
  list: (directory) => readdir(directory),
  makeDirectory: (path) => mkdir(path, 0o700),
  setMode: chmod,
  realPath: (path) => realpath(path),
}

/** EINTR means that nothing was done. Node hands it up from `read` alone; more than this many in a row is an error like any other. */
const INTERRUPTED_MAX = 16

async function uninterrupted(call: () => Promise<number>): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call()
    } catch (error) {
      if (systemCode(error) !== 'EINTR' || attempt === INTERRUPTED_MAX) throw error
    }
  }
}

/**
 * Writes all of `bytes` and returns the position behind them. A write may be short without an error, above all on a disk that
 * is filling up: a caller that does not loop acknowledges what is not there (measured: 369 acknowledged, 368 found).
 */
export async function writeAll(file: FsFile, bytes: Uint8Array, position: number): Promise<number> {
  let written = 0
  while (written < bytes.length) {
    const rest = bytes.subarray(written)
    const count = await uninterrupted(() => file.write(rest, position + written))
    if (count === 0) throw Object.assign(new Error('the file system wrote nothing and gave no reason'), { code: 'ENOSPC' })
    written += count
  }
  return position + written
}

/** The first `size` bytes of a file, fewer when it ends before. */
export async function readAll(file: FsFile, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size)
  let filled = 0
  while (filled < size) {
    const rest = bytes.subarray(filled)
    const count = await uninterrupted(() => file.read(rest, filled))
    if (count === 0) break
    filled += count
  }
  return bytes.subarray(0, filled)
}

/** Between the name of a file and the random end of the names of its temporary versions. */
const TEMPORARY_INFIX = '.tmp-'

/** A new name beside `path`, to write the next version under before it is renamed to `path`. */
export function temporaryFor(path: string): string {
  return `${path}${TEMPORARY_INFIX}${randomBytes(8).toString('hex')}`
}

/** Removes the temporary files that crashed writers of `path` left beside it. Errors are the system's. */
export async function removeLeftovers(fs: Fs, path: string): Promise<void> {
  const directory = dirname(path)
  for (const name of await fs.list(directory)) {
    if (name.startsWith(`${basename(path)}${TEMPORARY_INFIX}`)) await fs.remove(join(directory, name))
  }
}

/** `ENOENT` and the like, `undefined` when `error` is not the system's. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** `path` as one word of a shell command. */
export function quote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}

const wrongPath = {
  ENOENT: 'the path does not exist',
  ENOTDIR: 'the path is not a directory',
  EISDIR: 'the path is a directory',
  ELOOP: 'the path is a symbolic link that may not be followed',
  ENAMETOOLONG: 'the path is too long',
} as const

/**
 * The coded error for what the system refused. `doing` completes "cannot …", for example `write /var/lib/postern/state.sealed`;
 * `directory` is where the reader is sent. A {@link PosternError} passes through.
 */
export function explain(error: unknown, doing: string, directory: string): PosternError {
  if (error instanceof PosternError) return error
  const code = systemCode(error)
  const options = { cause: error, details: { directory, system: code } }
  switch (code) {
    case 'EACCES': case 'EPERM':
      return new PosternError('unwritable', `posternd is not allowed to ${doing}.`, { ...options, hint: `Check owner and mode: ls -ld ${quote(directory)}` })
    case 'EROFS':
      return new PosternError('unwritable', `posternd cannot ${doing}: the file system is read-only.`, { ...options, hint: `Remount the file system of ${quote(directory)} for writing, or choose another state directory.` })
    case 'ENOENT': case 'ENOTDIR': case 'EISDIR': case 'ELOOP': case 'ENAMETOOLONG':
      return new PosternError('unwritable', `posternd cannot ${doing}: ${wrongPath[code]}.`, { ...options, hint: `Check the path: ls -ld ${quote(directory)}` })
    case 'ENOSPC': case 'EDQUOT':
      return new PosternError('disk', `posternd cannot ${doing}: the disk is full.`, { ...options, hint: `Free some space: df -h ${quote(directory)}. What was stored before is intact.` })
    case 'EMFILE': case 'ENFILE':
      return new PosternError('disk', `posternd cannot ${doing}: too many files are open.`, { ...options, hint: 'Raise the limit of open files (ulimit -n, or LimitNOFILE= in the service unit).' })
    case undefined:
      return new PosternError('internal', `posternd cannot ${doing}.`, options)
    default:
      return new PosternError('disk', `posternd cannot ${doing}: the disk answered ${code}.`, { ...options, hint: `Check the disk and the kernel log (dmesg) for ${quote(directory)}.` })
  }
}
