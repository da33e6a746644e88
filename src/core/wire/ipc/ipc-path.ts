/**
 * Where the daemon's socket is (WIRE.md §8), for the daemon that opens it and the clients that look for it. Pure: the
 * environment comes in as an argument.
 */
import { utf8 } from '../../base/bytes.ts'
import { PosternError } from '../../base/errors.ts'

export interface IpcEnvironment {
  readonly platform: string
  /** 0 where the platform has none. */
  readonly uid: number
  /** `POSTERN_DIR`, `XDG_RUNTIME_DIR` and `TMPDIR` are looked at. */
  readonly env: Readonly<Partial<Record<string, string>>>
  /** `--dir`: goes before `POSTERN_DIR`. */
  readonly dir?: string | undefined
}

export interface IpcPath {
  /** Path of the Unix socket, or name of the Windows pipe. */
  readonly socket: string
  /** The socket's own directory, mode 0700; `undefined` for a pipe. It is ours alone, so its mode may be set. */
  readonly directory: string | undefined
  /** Whether missing parents are made: only where the user named the place. */
  readonly makeParents: boolean
}

const SOCKET_NAME = 'postern.sock'

/**
 * The places in the order they are tried. A daemon takes the first whose directory it can make or owns, a client the first
 * where a daemon answers. One place only when a directory was named.
 */
export function ipcPaths(environment: IpcEnvironment): readonly IpcPath[] {
  const { env, platform, uid } = environment
  const dir = environment.dir ?? nonEmpty(env['POSTERN_DIR'])
  if (platform === 'win32') return [{ socket: pipeName(dir), directory: undefined, makeParents: false }]
  // A directory of its own below the instance's: the instance directory may be one the user made, whose mode is not ours to change.
  if (dir !== undefined) return [place(`${trimSlash(dir)}/run`, true)]
  const runtime = nonEmpty(env['XDG_RUNTIME_DIR'])
  const temporary = nonEmpty(env['TMPDIR']) ?? '/tmp'
  return [
    ...(runtime === undefined ? [] : [place(`${trimSlash(runtime)}/postern`, false)]),
    place('/run/postern', false),
    place(`${trimSlash(temporary)}/postern-${uid}`, false),
  ]
}

/** The place of a socket that was named itself. Its directory is the user's: it must exist and be private. */
export function ipcPathOf(socket: string): IpcPath {
  return { socket, directory: undefined, makeParents: false }
}

/** `sun_path` holds 108 bytes on Linux and 104 on BSD and macOS, the last one is zero. Longer paths are cut off silently by some systems. */
export function socketPathMax(platform: string): number {
  return platform === 'linux' || platform === 'android' ? 107 : 103
}

/** An error for a socket path that the platform cannot hold. */
export function checkSocketPath(path: IpcPath, platform: string): PosternError | undefined {
  const max = socketPathMax(platform)
  if (platform === 'win32' || utf8(path.socket).length <= max) return undefined
  return new PosternError('config', `The socket path ${path.socket} is longer than the ${max} bytes this system allows.`, {
    hint: 'Choose a shorter directory with --dir or POSTERN_DIR.', details: { path: path.socket },
  })
}

function place(directory: string, makeParents: boolean): IpcPath {
  return { socket: `${directory}/${SOCKET_NAME}`, directory, makeParents }
}

/** One pipe per instance directory; the characters that a pipe name cannot hold are replaced. */
function pipeName(dir: string | undefined): string {
  const suffix = dir === undefined ? '' : `-${dir.toLowerCase().replace(/[^a-z0-9._-]/g, '_')}`
  return `\\\\.\\pipe\\postern${suffix}`
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}

function trimSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}
