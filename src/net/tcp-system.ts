import { connect, createServer, type NetConnectOpts, type Server, type ServerOpts, type Socket } from 'node:net'
import { toInstant, type Instant } from '../core/base/time.ts'

/** What the TCP driver asks of the machine, in one place, so that a test can play one that refuses, and its clock. */
export interface TcpSystem {
  createServer(options: ServerOpts, accept: (socket: Socket) => void): Server
  connect(options: NetConnectOpts): Socket
  now(): Instant
  setTimeout(run: () => void, milliseconds: number): unknown
  clearTimeout(handle: unknown): void
}

export const tcpSystem: TcpSystem = {
  createServer,
  connect: (options) => connect(options),
  now: () => toInstant(performance.now() * 1000),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
}
