import { connect, createServer, type Server, type Socket } from 'node:net'

export interface Cut {
  /** The direction that is counted. */
  readonly from: 'client' | 'daemon'
  /** Bytes of it that still get through. */
  readonly after: number
}

/** Stands between a client and its daemon, and breaks the connection after so many bytes, in the middle of a frame if need be. */
export class CuttingProxy {
  cuts = 0
  #cut: Cut | undefined
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(daemon: string) {
    this.#server = createServer((client) => this.#join(client, connect(daemon)))
  }

  static async start(path: string, daemon: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(daemon)
    await new Promise<void>((resolve) => proxy.#server.listen(path, resolve))
    return proxy
  }

  /** Breaks the connection that is there, or comes, once so many bytes have passed from now on. */
  cutOnce(cut: Cut): void {
    this.#cut = cut
  }

  /** Whether the last {@link cutOnce} has yet to happen. */
  get armed(): boolean {
    return this.#cut !== undefined
  }

  disarm(): void {
    this.#cut = undefined
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #join(client: Socket, daemon: Socket): void {
    for (const socket of [client, daemon]) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        daemon.destroy()
      })
    }
    client.on('data', (bytes: Buffer) => this.#pass('client', bytes, client, daemon))
    daemon.on('data', (bytes: Buffer) => this.#pass('daemon', bytes, daemon, client))
  }

  #pass(from: Cut['from'], bytes: Buffer, source: Socket, target: Socket): void {
    const cut = this.#cut
    if (cut?.from !== from) {
      target.write(bytes)
      return
    }
    if (bytes.length <= cut.after) {
      this.#cut = { from, after: cut.after - bytes.length }
      target.write(bytes)
      return
    }
    this.#cut = undefined
    this.cuts++
    // What got through arrives; what comes behind is lost in both directions.
    source.removeAllListeners('data')
    target.removeAllListeners('data')
    target.end(bytes.subarray(0, cut.after), () => {
      source.destroy()
      target.destroy()
    })
  }
}
