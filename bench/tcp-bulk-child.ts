/** One end of a plain TCP connection of the kernel: pours bytes, or counts those that come. A process of its own. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { serve } from './harness/child.ts'

let bytes = 0

async function listen({ port }: { readonly port: number }): Promise<void> {
  const server = createServer((socket) => {
    socket.on('data', (chunk) => {
      bytes += chunk.length
    })
    socket.on('error', () => undefined)
  })
  server.listen(port)
  await once(server, 'listening')
}

async function pour({ host, port, size }: { readonly host: string; readonly port: number; readonly size: number }): Promise<void> {
  const socket = connect(port, host)
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  const message = new Uint8Array(size)
  const more = (): void => {
    while (socket.write(message));
  }
  socket.on('drain', more)
  more()
}

export type TcpBulkEnd = {
  readonly listen: (options: { readonly port: number }) => Promise<void>
  readonly pour: (options: { readonly host: string; readonly port: number; readonly size: number }) => Promise<void>
  readonly read: () => { readonly bytes: number; readonly atMs: number }
}

const calls: TcpBulkEnd = { listen, pour, read: () => ({ bytes, atMs: performance.now() }) }
serve(calls)
