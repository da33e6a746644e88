import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** Connections through at once; beyond it a new one is closed. */
const CONNECTIONS_MAX = 64

/** The TCP side of the network between the two daemons: what connects to its port is passed on to the daemon behind it. */
export class TcpPassage implements AsyncDisposable {
  readonly #server: Server
  readonly #host: string
  readonly #sockets = new Set<Socket>()
  #target = 0
  #cut = false

  private constructor(server: Server, host: string) {
    this.#server = server
    this.#host = host
    server.on('connection', (socket) => this.#pass(socket))
  }

  /** On the port of the same number as the UDP side: a daemon is reached by both at one address. */
  static async open(host: string, port: number): Promise<TcpPassage> {
    const server = createServer({ allowHalfOpen: true })
    server.listen(port, host)
    await once(server, 'listening')
    return new TcpPassage(server, host)
  }

  forwardTo(port: number): void {
    this.#target = port
  }

  /** Ends what is open and lets nothing in. */
  cut(): void {
    this.#cut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  heal(): void {
    this.#cut = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #pass(near: Socket): void {
    if (this.#cut || this.#target === 0 || this.#sockets.size >= 2 * CONNECTIONS_MAX) {
      near.destroy()
      return
    }
    const far = connect({ port: this.#target, host: this.#host, allowHalfOpen: true, noDelay: true })
    near.setNoDelay(true)
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      this.#sockets.add(socket)
      // Either end going takes the other with it.
      socket.on('error', () => undefined).on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
    near.pipe(far)
    far.pipe(near)
  }
}
