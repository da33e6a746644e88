import type { Socket } from 'node:net'

/** Who may connect (WIRE.md §8). */
export interface SocketAccess {
  /** The user behind a connection; `undefined` where the system does not tell. */
  readonly uidOf: (socket: Socket) => number | undefined
  /** The daemon's own user; `undefined` where there are no users. */
  readonly own: number | undefined
  /** Users besides the daemon's own and root. With any, the socket is open to all, and this check is what keeps the others out. */
  readonly others: readonly number[]
}

const ROOT = 0

/** Whether a connection of this user is taken. Who cannot be told is taken only where the modes of socket and directory keep others out. */
export function mayConnect({ own, others }: SocketAccess, uid: number | undefined): boolean {
  return uid === undefined ? others.length === 0 : uid === own || uid === ROOT || others.includes(uid)
}

/** The descriptor of a socket, which Node keeps for itself; `undefined` when it is elsewhere in this version of Node. */
export function descriptorOf(socket: Socket): number | undefined {
  const handle = (socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null })._handle
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined
}
