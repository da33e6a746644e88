import type { Server, Socket } from 'node:net'
import { PosternError } from '../core/base/errors.ts'
import type { TcpSystem } from './tcp-system.ts'
import { codeOf } from './udp-open.ts'

export interface TcpBinding {
  /** 0 lets the system choose; all listeners get the same one. */
  readonly port: number
  /** IP literals; `::` alone is every address of the machine, IPv6 and IPv4. Empty: nothing listens, dialing works. */
  readonly bind: readonly string[]
}

export interface ListenHandlers {
  readonly accept: (socket: Socket) => void
  readonly error: (error: Error) => void
}

/** When the system chose a port that is taken on the second address, another one is tried this often. */
const ATTEMPTS = 8
/** Connections that the kernel completes while we are busy; more are answered when their SYN is repeated. */
const BACKLOG = 256

const noIPv6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT'])

/** Opens one listener per address, all on one port. Either all are open or, when it rejects with a {@link PosternError}, none. */
export async function openListeners(binding: TcpBinding, system: TcpSystem, handlers: ListenHandlers): Promise<readonly Server[]> {
  for (let attempt = 1; ; attempt++) {
    const opened: Server[] = []
    let current = ''
    try {
      for (const host of binding.bind) {
        current = host
        opened.push(await openOne(host, opened[0] === undefined ? binding.port : portOfServer(opened[0]), binding, system, handlers))
      }
      return opened
    } catch (error) {
      for (const server of opened) server.close()
      const drawn = binding.port === 0 && opened.length > 0
      if (drawn && codeOf(error) === 'EADDRINUSE' && attempt < ATTEMPTS) continue
      throw explain(error, current, binding.port)
    }
  }
}

export function portOfServer(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function openOne(host: string, port: number, binding: TcpBinding, system: TcpSystem, handlers: ListenHandlers): Promise<Server> {
  // Unlike for UDP, libuv sets IPV6_V6ONLY either way, so `::` takes IPv4 too on every system that can.
  const everything = host === '::' && !binding.bind.includes('0.0.0.0')
  try {
    return await listen(host, port, !everything, system, handlers)
  } catch (error) {
    if (!everything || !noIPv6.has(codeOf(error))) throw error
    return listen('0.0.0.0', port, false, system, handlers)
  }
}

function listen(host: string, port: number, ipv6Only: boolean, system: TcpSystem, handlers: ListenHandlers): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = system.createServer({ noDelay: true, allowHalfOpen: true }, handlers.accept)
    server.once('error', reject)
    system.listen(server, { host, port, ipv6Only, backlog: BACKLOG }, () => {
      server.removeListener('error', reject)
      server.on('error', handlers.error)
      resolve(server)
    })
  })
}

function explain(cause: unknown, host: string, port: number): PosternError {
  const where = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  const details = { host, port }
  switch (codeOf(cause)) {
    case 'EADDRINUSE':
      return new PosternError('port_in_use', `TCP port ${port} is already in use by another program.`, {
        hint: 'Set another port in postern.toml (0 draws a free one), or stop the program that has it.', cause, details,
      })
    case 'EACCES':
    case 'EPERM':
      return new PosternError('permission', `This user may not listen on TCP port ${port}.`, {
        hint: 'Ports below 1024 need root or CAP_NET_BIND_SERVICE; set a higher one.', cause, details,
      })
    case 'EADDRNOTAVAIL':
      return new PosternError('config', `No interface of this machine has the address ${host}.`, {
        hint: 'Correct the addresses to listen on in postern.toml; ["::"] is every address.', cause, details,
      })
    case 'EAFNOSUPPORT':
    case 'EPROTONOSUPPORT':
      return new PosternError('config', `This machine has no ${host.includes(':') ? 'IPv6' : 'IPv4'}, which listening on ${host} needs.`, {
        hint: 'Listen on ["::"]: it takes whatever the machine has.', cause, details,
      })
    default:
      return new PosternError('start', `The TCP listener ${where} cannot be opened (${codeOf(cause)}).`, { hint: 'The cause in the log says more.', cause, details })
  }
}
