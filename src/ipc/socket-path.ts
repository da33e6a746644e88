import { chmodSync, linkSync, lstatSync, mkdirSync, renameSync, rmSync, unlinkSync, type Stats } from 'node:fs'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { checkSocketPath, type IpcPath } from '../core/wire/ipc/ipc-path.ts'

const PLACE_ATTEMPTS = 3
const BACKLOG = 256

/** A socket that listens. */
export interface OpenSocket {
  /** Where clients find it. */
  readonly path: string
  /** Takes the file away, if it is still this socket's. */
  release(): void
}

/**
 * Makes the server listen at the first place that can be had. Directory 0700, socket 0600; for a socket that is `open`, whose server
 * asks who connects, 0711 and 0666. The socket of a dead daemon is replaced, a living one is `already_running`.
 */
export async function openSocket(server: Server, paths: readonly IpcPath[], open = false): Promise<OpenSocket> {
  let failure = new PosternError('config', 'No place for the daemon\'s socket was named.')
  for (const path of paths) {
    const refused = checkSocketPath(path, process.platform) ?? (process.platform === 'win32' ? undefined : prepareDirectory(path, open))
    if (refused === undefined) return process.platform === 'win32' ? await openPipe(server, path.socket) : await openAt(server, path.socket, open ? 0o666 : 0o600)
    failure = refused
  }
  throw failure
}

/** The socket's directory, made or checked: an error when others could put something into it, or, unless `open`, use it. */
function prepareDirectory(path: IpcPath, open: boolean): PosternError | undefined {
  if (path.directory === undefined) return checkPrivate(dirname(path.socket), open)
  const mode = open ? 0o711 : 0o700
  try {
    mkdirSync(path.directory, { mode, recursive: path.makeParents })
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') {
      return new PosternError('unwritable', `The directory ${path.directory} for the daemon's socket cannot be made.`, {
        cause: error, hint: 'Choose another one with --dir or POSTERN_DIR.', details: { path: path.directory },
      })
    }
  }
  const stats = lstatSync(path.directory)
  if (!stats.isDirectory() || !isOurs(stats)) return notOurs(path.directory)
  // The directory is ours by name and owner, so its mode may be set; an old one may be too open, or a umask too strict.
  if ((stats.mode & 0o777) !== mode) chmodSync(path.directory, mode)
  return undefined
}

/** A directory that the user named is not changed, only looked at. */
function checkPrivate(directory: string, open: boolean): PosternError | undefined {
  const stats = lstatSync(directory, { throwIfNoEntry: false })
  if (stats === undefined) return new PosternError('unwritable', `The directory ${directory} does not exist.`, { hint: `Make it: mkdir -m 700 ${directory}` })
  if (!stats.isDirectory() || !isOurs(stats)) return notOurs(directory)
  if ((stats.mode & (open ? 0o022 : 0o077)) === 0) return undefined
  return new PosternError('permission', `The directory ${directory} is open to other users.`, { hint: `Close it: chmod 700 ${directory}`, details: { path: directory } })
}

function notOurs(directory: string): PosternError {
  return new PosternError('permission', `${directory} is not a directory of this user, so others could answer in the daemon's place.`, {
    hint: 'Remove it, or choose another one with --dir or POSTERN_DIR.', details: { path: directory },
  })
}

function isOurs(stats: Stats): boolean {
  return process.getuid === undefined || stats.uid === process.getuid()
}

async function openPipe(server: Server, name: string): Promise<OpenSocket> {
  try {
    await listen(server, name)
  } catch (error) {
    throw codeOf(error) === 'EADDRINUSE' ? alreadyRunning(name) : startError(name, error)
  }
  return { path: name, release: () => undefined }
}

/**
 * The socket is made under a name of its own, gets its mode there, and is then linked to its place: linking fails when something is
 * there, so of two daemons that start at once exactly one wins, and nobody ever sees a socket with another mode.
 */
async function openAt(server: Server, path: string, mode: number): Promise<OpenSocket> {
  const own = ownName(path)
  try {
    await listen(server, own)
    chmodSync(own, mode)
    await linkInto(own, path)
    const { ino, dev } = lstatSync(path)
    const release = (): void => {
      const stats = lstatSync(path, { throwIfNoEntry: false })
      if (stats?.ino === ino && stats.dev === dev) unlinkSync(path)
    }
    return { path, release }
  } catch (error) {
    server.close()
    throw error instanceof PosternError ? error : startError(path, error)
  } finally {
    rmSync(own, { force: true })
  }
}

let ownNames = 0

/** A name beside `path`, for this process alone; not longer than our own socket's, so that it can be bound and connected to. */
function ownName(path: string): string {
  const name = join(dirname(path), `s${process.pid}.${ownNames++ % 10}`)
  rmSync(name, { force: true }) // Left by a process that had our number and died.
  return name
}

async function linkInto(own: string, path: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      linkSync(own, path)
      return
    } catch (error) {
      const code = codeOf(error)
      // A file system without links for sockets: the check before must do.
      if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP') {
        if (await answers(path)) throw alreadyRunning(path)
        renameSync(own, path)
        return
      }
      if (code !== 'EEXIST' || attempt === PLACE_ATTEMPTS) throw startError(path, error)
    }
    if (await answers(path)) throw alreadyRunning(path)
    await removeStale(path)
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error): void => {
      server.off('error', done)
      server.off('listening', done)
      if (error === undefined) resolve()
      else reject(error)
    }
    server.once('error', done)
    server.once('listening', done)
    server.listen({ path, backlog: BACKLOG })
  })
}

/** Whether somebody accepts connections at a path. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // EAGAIN is a daemon whose backlog is full.
    socket.once('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT', 'ENOTSOCK', 'EINVAL', 'ENAMETOOLONG'].includes(codeOf(error) ?? '')))
  })
}

/**
 * Takes a dead socket away. Between looking and removing, another daemon may have begun to listen at the same path; so the file is
 * moved aside first, looked at again where nobody else can replace it, and put back if it lives.
 */
async function removeStale(path: string): Promise<void> {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return
  if (!stats.isSocket()) {
    throw new PosternError('start', `${path} is in the way and not a socket.`, { hint: 'Remove it, if nothing needs it.', details: { path } })
  }
  const aside = ownName(path)
  try {
    renameSync(path, aside)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw startError(path, error)
  }
  const living = await answers(aside)
  if (living) putBack(aside, path)
  rmSync(aside, { force: true })
  if (living) throw alreadyRunning(path)
}

function putBack(aside: string, path: string): void {
  try {
    linkSync(aside, path)
  } catch (error) {
    // Somebody listens there already: then that one is the daemon.
    if (codeOf(error) !== 'EEXIST') throw startError(path, error)
  }
}

function alreadyRunning(path: string): PosternError {
  return new PosternError('already_running', `A daemon is already running at ${path}.`, {
    hint: 'Use it, stop it with `postern down`, or start this one elsewhere with --dir.', details: { path },
  })
}

function startError(path: string, cause: unknown): PosternError {
  return new PosternError('start', `The daemon's socket ${path} cannot be opened.`, { cause, details: { path } })
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
