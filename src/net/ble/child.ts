import type { Duplex } from 'node:stream'
import type { BackendEvent, BackendName, BackendOptions, BleBackend, OpenBackend } from './backend.ts'
import { VALUE_SIZE_MAX } from './backend.ts'
import { decodeCommand, encodeEvent, MessageReader, type PipeEvent } from './pipe.ts'

/** Bytes that the daemon has not read: beyond the first, advertisements are left out, as they come again; beyond the second, it does not read at all, and this process ends. */
const SEEN_UNREAD_MAX = 65_536
const UNREAD_MAX = 1_048_576
/** Advertisements told in a second. Who fills the air with more costs this process its time, and not the daemon; who is in range is heard in one of the next. */
const SEEN_MAX = 1000
const SEEN_PERIOD_MS = 1000
/** What a backend may take to give its adapter back. */
const CLOSE_MS = 2000

/** How a backend's module is found. Loaded only in the child, and only the one that is asked for. */
export type BackendModules = Readonly<Partial<Record<BackendName, () => Promise<{ readonly openBackend: OpenBackend }>>>>

/** Opens a backend, or says over the pipe why not. Resolves when the daemon has gone, said `stop`, or made no sense. */
export async function runBackend(options: BackendOptions, modules: BackendModules, pipe: Duplex): Promise<void> {
  const tell = (event: BackendEvent): void => void pipe.write(encodeEvent(event))
  const load = modules[options.name]
  try {
    if (load === undefined) throw new Error(`this build has no backend ${options.name}`)
    const { openBackend } = await load()
    await serveBackend(await openBackend(options), pipe)
  } catch (error) {
    tell({ kind: 'fault', code: codeOf(error), detail: error instanceof Error ? error.message : String(error) })
    await new Promise<void>((resolve) => void pipe.end(resolve))
  }
}

/**
 * Carries commands to a backend and its events back, and bounds what waits in between. The backend is closed when this resolves.
 *
 * @param now milliseconds
 */
export async function serveBackend(backend: BleBackend, pipe: Duplex, now: () => number = () => performance.now()): Promise<void> {
  const seen = new SeenBudget()
  await new Promise<void>((resolve) => {
    const tell = (event: PipeEvent): void => {
      if (pipe.writableLength >= UNREAD_MAX) resolve()
      else if (isTellable(event, pipe.writableLength) && (event.kind !== 'seen' || seen.take(now()))) pipe.write(encodeEvent(event))
    }
    const reader = new MessageReader((message) => {
      const command = decodeCommand(message)
      if (command === undefined) return false
      if (command.kind === 'ping') tell({ kind: 'pong' })
      else if (command.kind === 'stop') resolve()
      else backend.command(command)
      return true
    })
    pipe.on('data', (chunk: Uint8Array) => {
      if (!reader.push(chunk)) resolve()
    })
    for (const end of ['end', 'close', 'error']) pipe.on(end, () => resolve())
    backend.onEvent(tell)
  })
  await Promise.race([backend.close(), new Promise((resolve) => setTimeout(resolve, CLOSE_MS).unref())])
}

/** So many in each second, and no more. */
class SeenBudget {
  #since = -Infinity
  #told = 0

  take(now: number): boolean {
    if (now >= this.#since + SEEN_PERIOD_MS) {
      this.#since = now
      this.#told = 0
    }
    return ++this.#told <= SEEN_MAX
  }
}

function isTellable(event: PipeEvent, unread: number): boolean {
  if (event.kind === 'seen') return unread < SEEN_UNREAD_MAX
  // No ATT value of a link with the largest MTU is longer: what a controller says beyond it is not passed on.
  return event.kind !== 'received' || event.value.length <= VALUE_SIZE_MAX
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'unsupported'
}
