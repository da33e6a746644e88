import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { H4Reader } from '../../core/wire/hci.ts'
import type { VirtualAir } from './air.ts'
import type { AirController } from './controller.ts'

/** A host that does not read what its controller says is cut off: a real one would lose events. */
const UNREAD_MAX = 1_048_576

/** An air behind a unix socket: every connection is a controller of its own, until it is closed. */
export class AirServer {
  readonly air: VirtualAir
  /** In the order in which they came. */
  readonly controllers: Set<AirController> = new Set()
  readonly #server: Server
  readonly #sockets = new Map<AirController, Socket>()

  private constructor(air: VirtualAir) {
    this.air = air
    this.#server = createServer((socket) => this.#attach(socket))
  }

  static async listen(air: VirtualAir, path: string): Promise<AirServer> {
    rmSync(path, { force: true })
    const served = new AirServer(air)
    await new Promise<void>((resolve, reject) => {
      served.#server.once('error', reject)
      served.#server.listen(path, resolve)
    })
    return served
  }

  /** Pulls one out: its host sees the connection end. */
  unplug(controller: AirController): void {
    this.#sockets.get(controller)?.destroy()
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.values()) socket.destroy()
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()))
  }

  #attach(socket: Socket): void {
    const controller = this.air.add()
    if (controller === undefined) {
      socket.destroy()
      return
    }
    this.controllers.add(controller)
    this.#sockets.set(controller, socket)
    const reader = new H4Reader((packet) => controller.write(packet))
    controller.onPacket((packet) => {
      if (socket.writableLength > UNREAD_MAX) socket.destroy()
      else socket.write(packet)
    })
    socket.on('data', (chunk: Uint8Array) => {
      if (!reader.push(chunk)) socket.destroy()
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      controller.detach()
      this.controllers.delete(controller)
      this.#sockets.delete(controller)
    })
  }
}
