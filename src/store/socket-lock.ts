import { randomBytes } from 'node:crypto'
import { link, readdir, unlink } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { PosternError } from '../core/base/errors.ts'
import { systemCode } from './fs.ts'
import type { LockHolder } from './lock-holder.ts'

/** Sockets that are, or were, the lock: `lock-1.sock`, `lock-2.sock` … */
const TERM_NAME = /^lock-([1-9][0-9]{0,14})\.sock$/
/** A contender's socket before it got a term. */
const SPARE_NAME = /^lock-[0-9a-f]{16}\.new$/
/** sockaddr_un: 104 bytes with the zero on macOS and the BSDs, 108 on Linux. Longer paths would be cut by some systems. */
const SOCKET_PATH_MAX = 103
/** Each further attempt means that another contender was faster in the same millisecond. */
const ATTEMPTS_MAX = 64

/**
 * The lock where no kernel lock can be had: listening sockets, numbered in terms. The holder is the one whose socket has the
 * highest term and answers; the socket of a dead process refuses connections, whatever its pid is now.
 *
 * Who finds term n dead (or none, n = 0) links its own, listening socket to the name of term n + 1, which link(2) grants to one
 * alone, and makes sure that no higher term is there: an old observation may grant a term that was long ago passed and removed.
 * Terms only rise, because a term is removed only by the holder of a higher one; the holder leaves its own, dead, when it
 * releases. (Moving a dead socket out of the way instead was tried and let two in once in 40 races of 8: between "it is
 * dead" and "move it" a living one can take its place.)
 *
 * @returns how to release it, or `held`. `config` when the path is too long for a socket.
 */
export async function lockBySocket(directory: string, livingHolder: () => Promise<LockHolder | undefined>, writeHolder: () => Promise<void>): Promise<(() => Promise<void>) | 'held'> {
  const spare = join(directory, `lock-${randomBytes(8).toString('hex')}.new`)
  if (Buffer.byteLength(spare) > SOCKET_PATH_MAX) {
    throw new PosternError('config', `The path of the state directory ${directory} is too long for a socket, which the lock needs on this system.`, { hint: 'Choose a state directory with a shorter path.' })
  }
  const server = await listen(spare)
  try {
    const term = await takeTerm(directory, spare)
    // A living name that is no socket's is a daemon that locks with flock.
    if (term === undefined || (await livingHolder()) !== undefined) {
      await stop(server)
      return 'held'
    }
    await writeHolder()
    await removeOld(directory, term)
    return () => stop(server)
  } catch (error) {
    await stop(server)
    throw error
  } finally {
    await remove(spare)
  }
}

/** The term that is now ours, `undefined` when a living process has one. */
async function takeTerm(directory: string, spare: string): Promise<number | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const highest = await highestTerm(directory)
    if (highest > 0 && (await answers(termPath(directory, highest)))) return undefined
    const term = highest + 1
    if (!(await linkTo(spare, termPath(directory, term)))) continue
    if ((await highestTerm(directory)) === term) return term
    await remove(termPath(directory, term))
  }
  return undefined
}

function termPath(directory: string, term: number): string {
  return join(directory, `lock-${term}.sock`)
}

async function highestTerm(directory: string): Promise<number> {
  const terms = (await readdir(directory)).map((name) => Number(TERM_NAME.exec(name)?.[1] ?? 0))
  return Math.max(0, ...terms)
}

/** link(2) fails when the name exists, where rename(2) would replace it. */
async function linkTo(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    // ENOENT: a new holder took our socket for a dead one in the moment between bind and listen. The next look finds it alive.
    if (systemCode(error) === 'EEXIST' || systemCode(error) === 'ENOENT') return false
    throw error
  }
}

async function remove(path: string): Promise<void> {
  await unlink(path).catch(() => undefined)
}

/** Lower terms, and what crashed contenders left; the sockets of contenders that are still at it answer. */
async function removeOld(directory: string, term: number): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    const other = TERM_NAME.exec(name)?.[1]
    if (other !== undefined && Number(other) < term) await remove(path)
    else if (SPARE_NAME.test(name) && !(await answers(path))) await remove(path)
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
