import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { wipe } from '../core/base/bytes.ts'
import { explain, quote, readAll, removeLeftovers, systemCode, temporaryFor, writeAll, type Fs } from './fs.ts'

/** Random bytes of a key file: nothing else is in it. */
export const KEY_FILE_SIZE = 32

/** The user this process acts as, `undefined` where the platform has no such number. */
export function currentUser(): number | undefined {
  return process.getuid?.()
}

/**
 * The bytes of a key file, `undefined` when there is none. `state_key` when others own it or can read it (a key that others could
 * read is to be replaced, not used), when it is not a plain file or not 32 bytes long.
 */
export async function readKeyFile(fs: Fs, path: string): Promise<Uint8Array | undefined> {
  try {
    const file = await fs.open(path, 'read')
    try {
      const stat = await file.stat()
      checkKeyFile(path, stat.kind, stat.uid, stat.mode, stat.size)
      const key = await readAll(file, KEY_FILE_SIZE)
      if (key.length < KEY_FILE_SIZE) throw wrongSize(path, key.length)
      return key
    } finally {
      await file.close()
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw explain(error, `read the key file ${path}`, dirname(path))
  }
}

function checkKeyFile(path: string, kind: string, uid: number, mode: number, size: number): void {
  const user = currentUser()
  if (kind !== 'file') throw new PosternError('state_key', `The key file ${path} is not a plain file.`, { details: { path } })
  if (user !== undefined && uid !== user) {
    throw new PosternError('state_key', `The key file ${path} belongs to user ${uid}, but posternd runs as user ${user}.`, { hint: `chown ${user} ${quote(path)}`, details: { path } })
  }
  if ((mode & 0o077) !== 0) {
    throw new PosternError('state_key', `Other users may read or change the key file ${path} (mode ${mode.toString(8)}).`, { hint: `chmod 600 ${quote(path)}`, details: { path } })
  }
  if (size !== KEY_FILE_SIZE) throw wrongSize(path, size)
}

function wrongSize(path: string, size: number): PosternError {
  return new PosternError('state_key', `The key file ${path} has ${size} bytes, but a key has ${KEY_FILE_SIZE}.`, { hint: 'Restore the key file from a backup.', details: { path } })
}

/** Makes a key file, 0600, with new random bytes: it is on disk, whole, when this resolves. What stood at `path` is replaced. */
export async function createKeyFile(fs: Fs, path: string): Promise<Uint8Array> {
  const key = new Uint8Array(randomBytes(KEY_FILE_SIZE))
  const temporary = temporaryFor(path)
  try {
    await removeLeftovers(fs, path)
    const file = await fs.open(temporary, 'create')
    try {
      await writeAll(file, key, 0)
      await file.sync()
    } finally {
      await file.close()
    }
    await fs.rename(temporary, path)
    const directory = await fs.open(dirname(path), 'directory')
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
    return key
  } catch (error) {
    wipe(key)
    throw explain(error, `write the key file ${path}`, dirname(path))
  }
}
