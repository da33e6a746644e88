import { PosternError } from '../core/base/errors.ts'
import type { UdpEngine, UdpSocket } from './udp-socket.ts'

export interface UdpBinding {
  /** 0 lets the system choose; all sockets get the same one. */
  readonly port: number
  /** IP literals; `::` alone is every address of the machine, IPv6 and IPv4. */
  readonly bind: readonly string[]
  /** Asked of the kernel for each socket, bytes. */
  readonly receiveBuffer: number
  readonly sendBuffer: number
}

export interface OpenedSocket {
  readonly socket: UdpSocket
  /** An IPv6 socket that carries IPv4 too, as v4-mapped addresses. */
  readonly dualStack: boolean
}

/** When the system chose a port that is taken on the second socket, another one is tried this often. */
const ATTEMPTS = 8

const noIPv6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT'])

/** Opens one socket per address, all on one port. Either all are open or, when it rejects with a {@link PosternError}, none. */
export async function openSockets(binding: UdpBinding, engine: UdpEngine): Promise<readonly OpenedSocket[]> {
  for (let attempt = 1; ; attempt++) {
    const opened: OpenedSocket[] = []
    let current = ''
    try {
      for (const host of binding.bind) {
        current = host
        await openOne(host, binding, engine, opened)
      }
      return opened
    } catch (error) {
      for (const { socket } of opened) await socket.close()
      const drawn = binding.port === 0 && opened.length > 0
      if (drawn && codeOf(error) === 'EADDRINUSE' && attempt < ATTEMPTS) continue
      throw explain(error, current, binding.port === 0 ? opened[0]?.socket.port ?? 0 : binding.port)
    }
  }
}

async function openOne(host: string, binding: UdpBinding, engine: UdpEngine, opened: OpenedSocket[]): Promise<void> {
  const open = (address: string, only6: boolean): Promise<UdpSocket> => {
    const port = opened[0]?.socket.port ?? binding.port
    return engine.open(address, port, only6, { receive: binding.receiveBuffer, send: binding.sendBuffer })
  }
  const everything = host === '::' && !binding.bind.includes('0.0.0.0')
  if (!everything) {
    opened.push({ socket: await open(host, host === '::'), dualStack: false })
    return
  }
  let six: UdpSocket
  try {
    six = await open('::', false)
  } catch (error) {
    if (!noIPv6.has(codeOf(error))) throw error
    opened.push({ socket: await open('0.0.0.0', false), dualStack: false })
    return
  }
  const maps = engine.mapsIPv4()
  const index = opened.push({ socket: six, dualStack: maps === 'yes' }) - 1
  if (maps === 'yes') return
  try {
    opened.push({ socket: await open('0.0.0.0', false), dualStack: false })
  } catch (error) {
    if (maps !== 'unknown' || codeOf(error) !== 'EADDRINUSE') throw error
    // Where it is not known whether `::` took IPv4 too, a taken port on 0.0.0.0 is our own first socket: it did.
    opened[index] = { socket: six, dualStack: true }
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'other'
}

function explain(cause: unknown, host: string, port: number): PosternError {
  const where = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  const details = { host, port }
  switch (codeOf(cause)) {
    case 'EADDRINUSE':
      return new PosternError('port_in_use', `UDP port ${port} is already in use by another program.`, {
        hint: 'Set another [udp] port in postern.toml (0 draws a free one), or stop the program that has it.', cause, details,
      })
    case 'EACCES':
    case 'EPERM':
      return new PosternError('permission', `This user may not open UDP port ${port}.`, {
        hint: 'Ports below 1024 need root or CAP_NET_BIND_SERVICE; set [udp] port to a higher one.', cause, details,
      })
    case 'EADDRNOTAVAIL':
      return new PosternError('config', `No interface of this machine has the address ${host}.`, {
        hint: 'Correct [udp] bind in postern.toml; ["::"] listens on every address.', cause, details,
      })
    case 'EAFNOSUPPORT':
    case 'EPROTONOSUPPORT':
      return new PosternError('config', `This machine has no ${host.includes(':') ? 'IPv6' : 'IPv4'}, which ${host} in [udp] bind needs.`, {
        hint: 'Set [udp] bind = ["::"]: it takes whatever the machine has.', cause, details,
      })
    default:
      return new PosternError('start', `The UDP socket ${where} cannot be opened (${codeOf(cause)}).`, { hint: 'The cause in the log says more.', cause, details })
  }
}
