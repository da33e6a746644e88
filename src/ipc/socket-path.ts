import { chmodSync, linkSync, lstatSync, mkdirSync, renameSync, unlinkSync, type Stats } from 'node:fs'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { checkSocketPath, type IpcPath } from '../core/wire/ipc-path.ts'

const BIND_ATTEMPTS = 3
const BACKLOG = 256

/**
 * Makes the server listen at the first place that can be had, and returns its path. Directory 0700, socket 0600; the socket
 * of a dead daemon is replaced, a living one is `already_running`.
 */
export async function openSocket(server: Server, paths: readonly IpcPath[]): Promise<string> {
  let failure = new PosternError('config', 'No place for the daemon\'s socket was named.')
  for (const path of paths) {
    const refused = checkSocketPath(path, process.platform) ?? (process.platform === 'win32' ? undefined : prepareDirectory(path))
    if (refused !== undefined) {
      failure = refused
      continue
    }
    await bind(server, path.socket)
    if (process.platform !== 'win32') chmodSync(path.socket, 0o600)
    return path.socket
  }
  throw failure
}

/** The socket's directory, made or checked: an error when it cannot be ours alone. */
function prepareDirectory(path: IpcPath): PosternError | undefined {
  if (path.directory === undefined) return checkPrivate(dirname(path.socket))
  try {
    mkdirSync(path.directory, { mode: 0o700, recursive: path.makeParents })
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
  if ((stats.mode & 0o777) !== 0o700) chmodSync(path.directory, 0o700)
  return undefined
}

/** A directory that the user named is not changed, only looked at. */
function checkPrivate(directory: string): PosternError | undefined {
  const stats = lstatSync(directory, { throwIfNoEntry: false })
  if (stats === undefined) return new PosternError('unwritable', `The directory ${directory} does not exist.`, { hint: `Make it: mkdir -m 700 ${directory}` })
  if (!stats.isDirectory() || !isOurs(stats)) return notOurs(directory)
  if ((stats.mode & 0o077) === 0) return undefined
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

async function bind(server: Server, path: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await listen(server, path)
      return
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE' || attempt === BIND_ATTEMPTS) throw startError(path, error)
    }
    if (process.platform === 'win32' || (await answers(path))) throw alreadyRunning(path)
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
  // Not longer than our own name, so that it can be connected to as well.
  const aside = join(dirname(path), `s.${process.pid}`)
  try {
    renameSync(path, aside)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw startError(path, error)
  }
  const living = await answers(aside)
  if (living) putBack(aside, path)
  unlinkSync(aside)
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
