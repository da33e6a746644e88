import { connect, createServer, type NetConnectOpts, type Server, type ServerOpts, type Socket } from 'node:net'
import { toInstant, type Instant } from '../core/base/time.ts'

export interface ListenOptions {
  readonly host: string
  readonly port: number
  readonly ipv6Only: boolean
  readonly backlog: number
}

/** What the TCP driver asks of the machine, in one place, so that a test can play one that refuses, and its clock. */
export interface TcpSystem {
  /** Connections may be dialed from the very port that is listened on (net/tcp-native.ts). */
  readonly sharesPort: boolean
  /** Opens a server that {@link createServer} made; what is refused at once is thrown, else it is the server's `error`. */
  listen(server: Server, options: ListenOptions, listening: () => void): void
  createServer(options: ServerOpts, accept: (socket: Socket) => void): Server
  connect(options: NetConnectOpts): Socket
  now(): Instant
  setTimeout(run: () => void, milliseconds: number): unknown
  clearTimeout(handle: unknown): void
}

export const tcpSystem: TcpSystem = {
  sharesPort: false,
  listen: (server, options, listening) => void server.listen({ ...options, exclusive: true }, listening),
  createServer,
  connect: (options) => connect(options),
  now: () => toInstant(performance.now() * 1000),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
}
