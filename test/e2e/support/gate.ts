import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'

const HOST = '127.0.0.1'

/**
 * The only way between two daemons on this machine: one dials `address`, the other is behind it. Every datagram from the dialer goes through
 * `passes`, so that a test decides which are lost; the other direction loses nothing.
 */
export class Gate implements AsyncDisposable {
  passes: (length: number) => boolean = () => true
  /** Datagrams that did not pass. */
  dropped = 0
  readonly #front: Socket
  readonly #back: Socket
  #target = 0
  #caller = 0

  private constructor(front: Socket, back: Socket) {
    this.#front = front
    this.#back = back
    front.on('message', (bytes: Buffer, from: RemoteInfo) => {
      this.#caller = from.port
      if (this.#target === 0) return
      if (this.passes(bytes.length)) back.send(bytes, this.#target, HOST, () => undefined)
      else this.dropped++
    })
    back.on('message', (bytes: Buffer) => front.send(bytes, this.#caller, HOST, () => undefined))
  }

  static async open(): Promise<Gate> {
    const [front, back] = [createSocket('udp4'), createSocket('udp4')]
    for (const socket of [front, back]) {
      socket.bind(0, HOST)
      await once(socket, 'listening')
      // A daemon that ended is a closed port; what is sent there is lost.
      socket.on('error', () => undefined)
    }
    return new Gate(front, back)
  }

  /** What the daemon behind it advertises. */
  get address(): string {
    return `${HOST}:${this.#front.address().port}`
  }

  forwardTo(port: number): void {
    this.#target = port
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of [this.#front, this.#back]) {
      const closed = once(socket, 'close')
      socket.close()
      await closed
    }
  }
}
