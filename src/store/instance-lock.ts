import { spawn } from 'node:child_process'
import { close, constants, ftruncate, open, read, write } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PosternError } from '../core/base/errors.ts'
import { explain, quote } from './fs.ts'
import { decodeHolder, describeSelf, encodeHolder, HOLDER_SIZE_MAX, isAlive, type LockHolder } from './lock-holder.ts'
import { lockBySocket } from './socket-lock.ts'

/** Names who holds the lock; on Linux also what is locked. It stays when the lock is released: removing a locked file lets two in. */
export const LOCK_FILE = 'LOCK'

/** The right to be the one daemon of a state directory. */
export interface InstanceLock extends AsyncDisposable {
  readonly kind: 'flock' | 'socket'
  /** Never rejects; a second call waits for the first. The end of the process, however it comes, releases too. */
  release(): Promise<void>
}

/** What flock(2) said of a descriptor; `unusable`: a file system without locks. */
export type FlockAnswer = 'ours' | 'held' | 'unusable'

export interface InstanceLockOptions {
  /** flock(2) itself, where something can call it (platform/addon.ts). Goes before the program, which locks the same way. */
  readonly flock?: ((fd: number) => FlockAnswer) | undefined
  /** The util-linux (or busybox) program to lock with; `undefined` = the socket lock that works without it. */
  readonly flockProgram: string | undefined
}

export const instanceLockDefaults: InstanceLockOptions = { flockProgram: process.platform === 'linux' ? 'flock' : undefined }

const openFile = promisify(open)
const closeFile = promisify(close)
const truncateFile = promisify(ftruncate)

/**
 * Takes the lock of a directory or rejects at once: `already_running` names the pid of the living holder, `state_locked` when
 * the holder cannot be recognised (another container, another user's process), `unwritable` or `disk` when the lock file cannot
 * be written. Works between processes of one machine and between two opens of one process; not across machines.
 */
export async function acquireInstanceLock(directory: string, options: InstanceLockOptions = instanceLockDefaults): Promise<InstanceLock> {
  const path = join(directory, LOCK_FILE)
  try {
    // A number, not a FileHandle: one of those is closed when it is collected, and the lock would be gone without a word.
    const fd = await openFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    try {
      return await lockOpenFile(directory, fd, options)
    } catch (error) {
      await closeFile(fd)
      throw error
    }
  } catch (error) {
    throw explain(error, `lock the state directory with ${path}`, directory)
  }
}

async function lockOpenFile(directory: string, fd: number, { flock, flockProgram }: InstanceLockOptions): Promise<InstanceLock> {
  let answer = flock === undefined ? 'unusable' : flock(fd)
  if (answer === 'unusable' && flockProgram !== undefined) answer = await flockByProgram(flockProgram, fd)
  if (answer === 'held') throw await refusal(directory, fd)
  if (answer === 'ours') {
    // A living name under a free flock is a daemon that found no flock program and holds the socket.
    if ((await readLivingHolder(fd)) !== undefined) throw await refusal(directory, fd)
    await writeHolder(fd)
    return makeLock('flock', fd, () => Promise.resolve())
  }
  const taken = await lockBySocket(directory, () => readLivingHolder(fd), () => writeHolder(fd))
  if (taken === 'held') throw await refusal(directory, fd)
  return makeLock('socket', fd, taken)
}

function makeLock(kind: 'flock' | 'socket', fd: number, releaseSocket: () => Promise<void>): InstanceLock {
  let releasing: Promise<void> | undefined
  const release = (): Promise<void> => (releasing ??= (async () => {
    // The name goes before the lock, so that a successor's name is never the one removed. An error here keeps nobody out.
    await truncateFile(fd, 0).catch(() => undefined)
    await releaseSocket()
    await closeFile(fd).catch(() => undefined)
  })())
  return { kind, release, [Symbol.asyncDispose]: release }
}

/** A `flock` that takes longer than this does not work here. */
const FLOCK_TIMEOUT_MS = 5_000

/**
 * flock(2) is not in Node; this is how it is had without the addon. The program inherits our descriptor and locks the open file
 * behind it, which is ours: the lock stays when the program ends and goes when our descriptor is closed, kill -9 included. Node
 * opens files close-on-exec, so no other child keeps it. 2–4 ms.
 */
function flockByProgram(program: string, fd: number): Promise<FlockAnswer> {
  return new Promise((resolve) => {
    const child = spawn(program, ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd], timeout: FLOCK_TIMEOUT_MS, killSignal: 'SIGKILL' })
    child.once('error', () => resolve('unusable'))
    // 1 is "somebody else has it", for util-linux and busybox; 64 and above is a file system without locks, or misuse.
    child.once('exit', (code) => resolve(code === 0 ? 'ours' : code === 1 ? 'held' : 'unusable'))
  })
}

async function writeHolder(fd: number): Promise<void> {
  const bytes = Buffer.from(encodeHolder(await describeSelf()))
  await truncateFile(fd, 0)
  await new Promise<void>((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, 0, (error, written) => {
      if (error !== null) reject(error)
      else if (written < bytes.length) reject(Object.assign(new Error('short write'), { code: 'ENOSPC' }))
      else resolve()
    })
  })
}

async function readHolder(fd: number): Promise<LockHolder | undefined> {
  const bytes = Buffer.alloc(HOLDER_SIZE_MAX)
  const count = await new Promise<number>((resolve, reject) => {
    read(fd, bytes, 0, bytes.length, 0, (error, bytesRead) => (error === null ? resolve(bytesRead) : reject(error)))
  })
  return decodeHolder(bytes.toString('utf8', 0, count))
}

async function readLivingHolder(fd: number): Promise<LockHolder | undefined> {
  const holder = await readHolder(fd)
  return holder !== undefined && (await isAlive(holder)) ? holder : undefined
}

/** A holder writes its name within milliseconds after it got the lock. */
const NAME_ATTEMPTS = 10
const NAME_PAUSE_MS = 20

async function refusal(directory: string, fd: number): Promise<PosternError> {
  for (let attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
    const holder = await readLivingHolder(fd)
    if (holder !== undefined) {
      return new PosternError('already_running', `posternd is already running on ${directory} (pid ${holder.pid}, since ${holder.since}).`, {
        hint: `Stop it first (kill ${holder.pid}), or choose another state directory.`, details: { directory, pid: holder.pid, since: holder.since },
      })
    }
    await new Promise((resolve) => setTimeout(resolve, NAME_PAUSE_MS))
  }
  const stale = await readHolder(fd)
  const suspect = stale === undefined ? '' : ` (perhaps pid ${stale.pid} in another container)`
  return new PosternError('state_locked', `Another process has locked the state directory ${directory}${suspect}.`, {
    hint: `Find it with: fuser -v ${quote(join(directory, LOCK_FILE))}`, details: { directory, pid: stale?.pid },
  })
}
