import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'

/** Receives datagrams on a Unix socket, which Node cannot: a line for each, with the process that sent it. */
const RECEIVER = `
import json, os, socket, struct, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
name = sys.argv[1]
sock.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    data, control, _, _ = sock.recvmsg(4096, 256)
    pid = 0
    for _, kind, value in control:
        if kind == socket.SCM_RIGHTS:
            # Who sent BARRIER=1 waits until this is closed.
            os.close(struct.unpack("i", value[:4])[0])
        else:
            pid = struct.unpack("3i", value)[0]
    if data == b"BARRIER=1":
        continue
    print(json.dumps({"pid": pid, "text": data.decode()}), flush=True)
`

export const hasPython: boolean = spawnSync('python3', ['-c', 'import socket; socket.SO_PASSCRED']).status === 0
if (!hasPython) console.warn('skipped: no python3 here, so nothing can listen as systemd does')

export interface Notification { readonly pid: number; readonly text: string }

/** What systemd is to a service: a socket that is told. */
export class NotifySocket implements AsyncDisposable {
  readonly path: string
  readonly heard: Notification[] = []
  readonly #process: ChildProcess
  readonly #lines: Interface
  #wake: () => void = () => undefined

  private constructor(path: string) {
    this.path = path
    this.#process = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#lines = createInterface(this.#process.stdout!)
  }

  static async open(path: string): Promise<NotifySocket> {
    const socket = new NotifySocket(path)
    await once(socket.#lines, 'line')
    socket.#lines.on('line', (line) => {
      socket.heard.push(JSON.parse(line) as Notification)
      socket.#wake()
    })
    return socket
  }

  /** The first message with this in it. */
  async hears(text: string): Promise<Notification> {
    for (;;) {
      const found = this.heard.find((message) => message.text.includes(text))
      if (found !== undefined) return found
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL')
    await once(this.#process, 'close')
  }
}
