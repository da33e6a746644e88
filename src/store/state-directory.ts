import { dirname, join, resolve } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { explain, nodeFs, quote, systemCode, type Fs, type FsFile } from './fs.ts'
import { acquireInstanceLock, instanceLockDefaults, type InstanceLock, type InstanceLockOptions } from './instance-lock.ts'
import { currentUser } from './key-file.ts'
import type { KeySource } from './keys.ts'
import { SealedFileStore } from './sealed-file-store.ts'

/** Name of the key file when the configuration names none: it protects copies of the state file, not the whole directory. */
export const KEY_FILE = 'state.key'

export interface StateDirectoryOptions {
  /** Made when missing, parents included; a symbolic link is followed. */
  readonly path: string
  /** In the order in which they are tried. `undefined` = the key file {@link KEY_FILE} in the directory. */
  readonly keys?: readonly KeySource[]
  readonly fs?: Fs
  readonly lock?: InstanceLockOptions
}

/**
 * Everything a daemon keeps on disk, opened in the order that makes it safe: directory, lock, keys and state; closed in
 * reverse. Rejects, having let go of what it took: `unwritable` or `permission` for the directory, `already_running` or
 * `state_locked` for the lock, the codes of {@link SealedFileStore.open} for the rest.
 */
export class StateDirectory implements AsyncDisposable {
  /** Absolute, without symbolic links. */
  readonly path: string
  readonly store: SealedFileStore
  readonly lock: InstanceLock
  #closing: Promise<void> | undefined

  private constructor(path: string, lock: InstanceLock, store: SealedFileStore) {
    this.path = path
    this.lock = lock
    this.store = store
  }

  static async open(options: StateDirectoryOptions): Promise<StateDirectory> {
    const { fs = nodeFs, lock: lockOptions = instanceLockDefaults } = options
    const path = await prepareDirectory(fs, resolve(options.path))
    const lock = await acquireInstanceLock(path, lockOptions)
    try {
      const keys = options.keys ?? [{ kind: 'key-file', path: join(path, KEY_FILE) }]
      return new StateDirectory(path, lock, await SealedFileStore.open({ directory: path, keys, fs }))
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  /** Never rejects; a second call waits for the first. */
  close(): Promise<void> {
    this.#closing ??= this.store.close().then(() => this.lock.release())
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * Makes a directory 0700 with its missing parents, or makes sure that an existing one is ours alone, and returns its real path.
 * An empty one that others may enter is closed to them; one with files in it may serve somebody, so that is left to the user.
 */
export async function prepareDirectory(fs: Fs, path: string): Promise<string> {
  try {
    await makeDirectories(fs, path)
    const real = await fs.realPath(path)
    const directory = await fs.open(real, 'directory')
    try {
      const { uid, mode } = await directory.stat()
      const user = currentUser()
      if (user !== undefined && uid !== user) {
        throw new PosternError('permission', `The state directory ${real} belongs to user ${uid}, but posternd runs as user ${user}.`, { hint: `Run posternd as user ${uid}, or: chown -R ${user} ${quote(real)}`, details: { directory: real } })
      }
      if ((mode & 0o077) === 0) return real
      if ((await fs.list(real)).length > 0) {
        throw new PosternError('permission', `Other users may enter the state directory ${real} (mode ${mode.toString(8)}).`, { hint: `chmod 700 ${quote(real)}`, details: { directory: real } })
      }
      await fs.setMode(real, 0o700)
      return real
    } finally {
      await directory.close()
    }
  } catch (error) {
    throw explain(error, `use the state directory ${path}`, path)
  }
}

async function makeDirectories(fs: Fs, path: string): Promise<void> {
  if ((await makeOne(fs, path)) === 'no-parent') {
    await makeDirectories(fs, dirname(path))
    await makeOne(fs, path)
  }
}

async function makeOne(fs: Fs, path: string): Promise<'exists' | 'no-parent'> {
  try {
    await fs.makeDirectory(path)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EEXIST') return 'exists'
    if (code !== 'ENOENT' || dirname(path) === path) throw error
    return 'no-parent'
  }
  await syncParent(fs, path)
  return 'exists'
}

/** The new name is on disk before anything is acknowledged that lies behind it. */
async function syncParent(fs: Fs, path: string): Promise<void> {
  let parent: FsFile
  try {
    parent = await fs.open(dirname(path), 'directory')
  } catch (error) {
    // A directory one may write in but not read cannot be opened, hence not synced: the system's own flush has to do.
    if (systemCode(error) === 'EACCES') return
    throw error
  }
  try {
    await parent.sync()
  } finally {
    await parent.close()
  }
}
