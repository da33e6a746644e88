import { isAbsolute, join, resolve } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { ipcPathOf, ipcPaths, type IpcPath } from '../core/wire/ipc/ipc-path.ts'

/** What decides where things are. Everything comes in, so that the same rules serve daemon, command line and tests. */
export interface PathsInput {
  readonly platform: string
  /** 0 where the platform has none. */
  readonly uid: number
  /** Home directory of the user, `undefined` when it is not known. */
  readonly home: string | undefined
  /** Directory that relative paths start from. */
  readonly cwd: string
  readonly env: Readonly<Partial<Record<string, string>>>
  /** `--dir`; goes before `POSTERN_DIR`. */
  readonly dir?: string | undefined
  /** `--config`; goes before every other place of the file. */
  readonly config?: string | undefined
}

/** All absolute. Nothing is looked up or made here. */
export interface Paths {
  /** The one file that is read. */
  readonly config: string
  /** It was named with `--config`, so it must exist; otherwise it may be absent. */
  readonly configNamed: boolean
  /** Directory of everything the daemon remembers. */
  readonly state: string
  /** Places of the IPC socket, in the order to try. */
  readonly sockets: readonly IpcPath[]
  /** The directory that holds this whole instance, when one was named. */
  readonly dir: string | undefined
}

/**
 * With `--dir` or `POSTERN_DIR` everything of the instance is under that directory, so that two instances share nothing.
 * Otherwise the XDG base directories; and for root without them, which is how a system service runs, /etc and /var/lib.
 * Throws `config` when there is neither a home nor a directory named.
 */
export function resolvePaths(input: PathsInput): Paths {
  const { env, cwd } = input
  const named = input.dir ?? nonEmpty(env['POSTERN_DIR'])
  const dir = named === undefined ? undefined : resolve(cwd, named)
  const config = input.config === undefined ? join(dir ?? configHome(input), 'postern.toml') : resolve(cwd, input.config)
  return {
    config,
    configNamed: input.config !== undefined,
    state: dir === undefined ? stateHome(input) : join(dir, 'state'),
    sockets: ipcPaths({ platform: input.platform, uid: input.uid, env, dir }),
    dir,
  }
}

/** The same paths with the socket where `[ipc] socket` says; relative to the instance's directory or else to the configuration file's. */
export function withSocket(paths: Paths, socket: string | undefined): Paths {
  if (socket === undefined) return paths
  return { ...paths, sockets: [ipcPathOf(absoluteFrom(paths, socket))] }
}

/** A path written in the configuration file: relative ones start beside that file, wherever the daemon was started from. */
export function absoluteFrom(paths: Pick<Paths, 'config'>, path: string): string {
  return resolve(paths.config, '..', path)
}

function configHome(input: PathsInput): string {
  return input.platform === 'win32'
    ? join(directory(input, 'APPDATA', undefined, 'AppData/Roaming'), 'postern')
    : join(directory(input, 'XDG_CONFIG_HOME', '/etc', '.config'), 'postern')
}

function stateHome(input: PathsInput): string {
  return input.platform === 'win32'
    ? join(directory(input, 'LOCALAPPDATA', undefined, 'AppData/Local'), 'postern')
    : join(directory(input, 'XDG_STATE_HOME', '/var/lib', '.local/state'), 'postern')
}

function directory(input: PathsInput, variable: string, forRoot: string | undefined, belowHome: string): string {
  const value = nonEmpty(input.env[variable])
  // XDG Base Directory Specification: a relative path there is invalid and ignored.
  if (value !== undefined && isAbsolute(value)) return value
  if (forRoot !== undefined && input.uid === 0) return forRoot
  if (input.home !== undefined && input.home !== '') return join(input.home, belowHome)
  throw new PosternError('config', `There is no home directory to keep the state in ($HOME and $${variable} are not set).`, {
    hint: 'Name a directory: posternd --dir /path, or POSTERN_DIR=/path.',
  })
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}
