import { createConnection } from 'node:net'
import { H4Reader } from '../../../core/wire/hci.ts'

/** The way to one controller: whole packets of HCI, each with its type in front. */
export interface HciTransport {
  write(packet: Uint8Array): void
  /** Both are set once, before anything is written. `closed` comes once, also after {@link close}. */
  start(packet: (packet: Uint8Array) => void, closed: (why: string) => void): void
  close(): void
}

/** Opens the way anew, as often as it was lost. A rejection has the system's code. */
export type OpenTransport = () => Promise<HciTransport>

/** Clock and timers, replaced in tests. */
export interface HciTime {
  /** Milliseconds. */
  now(): number
  after(milliseconds: number, run: () => void): () => void
}

export const hciTime: HciTime = {
  now: () => performance.now(),
  after: (milliseconds, run) => {
    const timer = setTimeout(run, milliseconds)
    return () => clearTimeout(timer)
  },
}

/** A controller that does not take what it is given has stopped. */
const UNWRITTEN_MAX = 1_048_576

/** H4 over a unix socket: an emulated controller, or a serial one behind a program that serves it. */
export async function openH4Socket(path: string): Promise<HciTransport> {
  const socket = createConnection(path)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  let why = 'the controller has gone'
  return {
    write: (packet) => {
      if (socket.writableLength > UNWRITTEN_MAX) {
        why = 'the controller does not take what it is given'
        socket.destroy()
      } else if (!socket.destroyed) socket.write(packet)
    },
    start: (packet, closed) => {
      const reader = new H4Reader(packet)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => closed(why))
      socket.on('data', (chunk: Uint8Array) => {
        if (reader.push(chunk)) return
        why = 'what came from the controller is no HCI'
        socket.destroy()
      })
      if (socket.destroyed) closed(why)
    },
    close: () => socket.destroy(),
  }
}
