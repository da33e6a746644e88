import { randomBytes } from 'node:crypto'
import { link, lstat, readdir, rename, unlink } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { systemCode } from './fs.ts'
import type { LockHolder } from './lock-holder.ts'

/** The name all contenders want for their own socket. */
const SOCKET_NAME = 'lock.sock'
/** Of sockets that are not yet, or no longer, the lock. */
const SPARE_PREFIX = 'lock-'
/** sockaddr_un: 104 bytes with the zero on macOS and the BSDs, 108 on Linux. Longer paths would be cut by some systems. */
const SOCKET_PATH_MAX = 103
/** Takeovers in a row: each takes one dead socket out of the way, and only crashes make those. */
const TAKEOVER_MAX = 8

/**
 * The lock where no kernel lock can be had: a listening socket under one name. A dead holder's socket refuses connections, so
 * it is known to be stale whatever its pid now is.
 *
 * Taking over is the delicate part: between "it is dead" and "it is out of the way" another contender may have put its
 * living one there. So the name is moved aside (one mover wins) and tried again there; a living one is put back; and the
 * winner makes sure, after writing its name and before it trusts the lock, that no named holder lives and that the socket
 * under the name is its own.
 *
 * @returns how to release it, or `held`. `config` when the path is too long for a socket.
 */
export async function lockBySocket(directory: string, livingHolder: () => Promise<LockHolder | undefined>, writeHolder: () => Promise<void>): Promise<(() => Promise<void>) | 'held'> {
  const name = join(directory, SOCKET_NAME)
  const own = join(directory, `${SPARE_PREFIX}${randomBytes(6).toString('hex')}.sock`)
  if (Buffer.byteLength(own) > SOCKET_PATH_MAX) {
    throw new PosternError('config', `The path of the state directory ${directory} is too long for a socket, which the lock needs on this system.`, { hint: 'Choose a state directory with a shorter path.' })
  }
  const server = await listen(own)
  const mine = (await lstat(own)).ino
  const giveUp = async (): Promise<'held'> => {
    if ((await inodeOf(name)) === mine) await remove(name)
    await remove(own)
    await stop(server)
    return 'held'
  }
  try {
    if (!(await takeName(directory, own, name))) return await giveUp()
    if ((await livingHolder()) !== undefined) return await giveUp()
    await writeHolder()
    if ((await inodeOf(name)) !== mine) return await giveUp()
    await remove(own)
    await removeSpares(directory)
  } catch (error) {
    await giveUp()
    throw error
  }
  return async () => {
    if ((await inodeOf(name)) === mine) await remove(name)
    await stop(server)
  }
}

/** Whether our socket now stands under the name: `false` when a living one does. */
async function takeName(directory: string, own: string, name: string): Promise<boolean> {
  for (let attempt = 0; attempt < TAKEOVER_MAX; attempt++) {
    if (await linkTo(own, name)) return true
    if (await answers(name)) return false
    const aside = join(directory, `${SPARE_PREFIX}${randomBytes(6).toString('hex')}.old`)
    if (!(await moveAside(name, aside))) continue
    if (await answers(aside)) {
      await linkTo(aside, name)
      await remove(aside)
      return false
    }
    await remove(aside)
  }
  return false
}

/** link(2) fails when the name exists, where rename(2) would replace it. */
async function linkTo(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}

async function moveAside(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to)
    return true
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false
    throw error
  }
}

async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await lstat(path)).ino
  } catch {
    return undefined
  }
}

async function remove(path: string): Promise<void> {
  await unlink(path).catch(() => undefined)
}

/** What crashed contenders left. Those of contenders that are still at it answer. */
async function removeSpares(directory: string): Promise<void> {
  for (const entry of await readdir(directory)) {
    if (entry.startsWith(SPARE_PREFIX) && !(await answers(join(directory, entry)))) await remove(join(directory, entry))
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', reject)
    server.listen(path, () => {
      // The lock is no reason to keep a process alive that has nothing else to do.
      server.unref()
      resolve(server)
    })
  })
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

/** Whether somebody listens there. Anything but a plain refusal counts as yes: when in doubt the lock is held. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const settle = (answer: boolean): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', (error) => {
      const code = systemCode(error)
      settle(code !== 'ECONNREFUSED' && code !== 'ENOENT' && code !== 'ENOTSOCK')
    })
  })
}
