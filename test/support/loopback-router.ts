import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseHttpUrl } from '../../src/core/wire/http-url.ts'
import { HomeRouter, type HomeRouterSettings } from './home-router.ts'

/**
 * A {@link HomeRouter} on real sockets of one loopback address: PCP and NAT-PMP, searches and a web server. Nothing it does, and nothing that is sent
 * to it, leaves the machine.
 */
export class LoopbackRouter implements AsyncDisposable {
  readonly model: HomeRouter
  /** What it did besides: another web server's answers, say. */
  web: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined
  readonly #sockets: Socket[]
  readonly #server: Server

  private constructor(model: HomeRouter, sockets: Socket[], server: Server) {
    this.model = model
    this.#sockets = sockets
    this.#server = server
  }

  static async start(address: string, settings: HomeRouterSettings = {}): Promise<LoopbackRouter> {
    const server = createServer()
    server.listen(0, address)
    await once(server, 'listening')
    const model = new HomeRouter({ ...settings, address, httpPort: (server.address() as AddressInfo).port })
    const sockets = [createSocket('udp4'), createSocket('udp4')]
    const router = new LoopbackRouter(model, sockets, server)
    for (const [i, port] of [5351, 1900].entries()) {
      sockets[i]!.on('message', (bytes, from) => {
        for (const answer of model.datagram(performance.now() / 1000, port, from.address, bytes)) sockets[i]!.send(answer, from.port, from.address)
      })
      sockets[i]!.bind(port, address)
      await once(sockets[i]!, 'listening')
    }
    server.on('request', (request, response) => router.#serve(request, response))
    return router
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    if (this.web?.(request, response) === true) return
    let body = ''
    request.setEncoding('latin1').on('data', (piece: string) => {
      body += piece
    })
    request.on('end', () => {
      const url = parseHttpUrl(`http://${this.model.address}:${this.model.httpPort}${request.url ?? ''}`)!
      const action = request.headers['soapaction']
      const outcome = this.model.http(url, typeof action === 'string' ? { action, body } : undefined, request.socket.remoteAddress ?? '')
      if (outcome.kind === 'answer') response.writeHead(outcome.status, { 'content-type': 'text/xml' }).end(outcome.body, 'latin1')
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.close()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
