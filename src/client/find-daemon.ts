import { statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { dirname, resolve } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { checkSocketPath, ipcPathOf, ipcPaths, type IpcPath } from '../core/wire/ipc/ipc-path.ts'
import { onAbort, throwIfAborted } from './waiting.ts'

export interface DaemonPlace {
  /** The instance directory, as `--dir` of the daemon. */
  readonly dir?: string | undefined
  /** The socket itself. */
  readonly path?: string | undefined
}

/** Incoming bytes are read into one buffer and are valid during the call only. */
export type OnBytes = (bytes: Uint8Array, length: number) => void

const READ_BUFFER_SIZE = 65_536

/** Where to look, in order: the place named, else the directory named, else the environment's. */
export function daemonPaths(place: DaemonPlace): readonly IpcPath[] {
  if (place.path !== undefined) return [ipcPathOf(resolve(place.path))]
  const dir = place.dir ?? process.env['POSTERN_DIR']
  return ipcPaths({
    platform: process.platform, uid: process.getuid?.() ?? 0, env: process.env, dir: dir === undefined || dir === '' ? undefined : resolve(dir),
  })
}

/** Connects to the first place where a daemon answers. Fails with `not_running`, `permission`, `config` or `aborted`. */
export async function connectDaemon(paths: readonly IpcPath[], onBytes: OnBytes, signal: AbortSignal | undefined): Promise<Socket> {
  let failure: PosternError | undefined
  for (const path of paths) {
    throwIfAborted(signal)
    const refused = checkSocketPath(path, process.platform) ?? checkOwner(path)
    const outcome = refused ?? (await connectTo(path, onBytes, signal))
    if (!(outcome instanceof PosternError)) return outcome
    if (outcome.code === 'aborted') throw outcome
    // A refusal says more than an absence.
    if (failure === undefined || failure.code === 'not_running') failure = outcome
  }
  throw failure === undefined || failure.code === 'not_running' ? notRunning(paths, failure?.cause) : failure
}

function connectTo(path: IpcPath, onBytes: OnBytes, signal: AbortSignal | undefined): Promise<Socket | PosternError> {
  return new Promise((settle) => {
    // One buffer for all reads: no allocation per read, and the app's messages are handed out as views of it.
    const callback = (length: number, bytes: Uint8Array): boolean => {
      onBytes(bytes, length)
      return true
    }
    const socket = connect({ path: path.socket, onread: { buffer: new Uint8Array(READ_BUFFER_SIZE), callback } })
    const done = (outcome: Socket | PosternError): void => {
      stopWaiting()
      socket.off('error', failed)
      settle(outcome)
    }
    const failed = (error: Error): void => done(connectError(path, error))
    const stopWaiting = onAbort(signal, (error) => {
      done(error)
      socket.destroy()
    })
    socket.once('error', failed)
    socket.once('connect', () => done(socket))
  })
}

/**
 * Whoever owns the directory can answer in the daemon's place: it must be this user or root. In a shared temporary directory
 * anybody could have made it first.
 */
function checkOwner(path: IpcPath): PosternError | undefined {
  const uid = process.getuid?.()
  if (uid === undefined) return undefined
  const directory = path.directory ?? dirname(path.socket)
  try {
    const stats = statSync(directory, { throwIfNoEntry: false })
    if (stats === undefined || stats.uid === uid || stats.uid === 0) return undefined
  } catch (error) {
    return new PosternError('permission', `This user may not look into ${directory}.`, { cause: error, details: { path: directory } })
  }
  return new PosternError('permission', `The directory ${directory} belongs to another user.`, {
    hint: 'Use the socket of your own daemon, or remove the directory.', details: { path: directory },
  })
}

function connectError(path: IpcPath, cause: Error): PosternError {
  const code = 'code' in cause ? cause.code : undefined
  if (code !== 'EACCES' && code !== 'EPERM') return notRunning([path], cause)
  return new PosternError('permission', `This user may not open ${path.socket}.`, {
    cause, hint: 'Run as the user whose daemon it is.', details: { path: path.socket },
  })
}

function notRunning(paths: readonly IpcPath[], cause: unknown): PosternError {
  const tried = paths.map((path) => path.socket)
  return new PosternError('not_running', `No daemon answers at ${tried.join(', ')}.`, {
    cause, hint: 'Start one with `postern up`.', details: { paths: tried },
  })
}
