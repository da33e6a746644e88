import { connect, type Client, type PeerInfo } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { parsePeerIdInput, encodePeerId, PEER_ID_TEXT_SIZE } from '../core/wire/peer-id.ts'
import type { Globals } from './output.ts'

/** Runs a command with a connection to the daemon, and closes it whatever happens. */
export async function withClient<T>(globals: Globals, action: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect({ name: 'postern', reconnect: false, ...(globals.dir === undefined ? {} : { dir: globals.dir }) })
  try {
    return await action(client)
  } finally {
    await client.close()
  }
}

/** The id that a person meant: a whole id, a name from the roster, or the beginning of an id that only one peer has. */
export async function resolvePeer(client: Client, text: string): Promise<string> {
  const peers = await client.peers()
  const named = peers.filter((peer) => peer.name === text)
  if (named.length === 1) return named[0]!.id
  if (named.length > 1) throw ambiguous(text, named)
  if (text.length === PEER_ID_TEXT_SIZE) {
    const parsed = parsePeerIdInput(text)
    if (parsed.kind === 'id') return encodePeerId(parsed.id)
    throw new PosternError('bad_peer_id', `${text} is not a peer id (${parsed.where}).`, { hint: 'Copy it again from `postern id` on the other machine.' })
  }
  const begins = peers.filter((peer) => peer.id.startsWith(text.toLowerCase()))
  if (begins.length === 1 && text.length >= 4) return begins[0]!.id
  if (begins.length > 1) throw ambiguous(text, begins)
  throw new PosternError('unknown_peer', `No peer is called ${text}.`, { hint: 'Names and ids: postern peers' })
}

function ambiguous(text: string, peers: readonly PeerInfo[]): PosternError {
  return new PosternError('unknown_peer', `${text} could be ${peers.length} peers.`, { hint: `Say more of the id: ${peers.slice(0, 3).map((peer) => peer.id).join(', ')}` })
}

/** Ends with Ctrl-C. */
export function interruption(): AbortSignal {
  const controller = new AbortController()
  process.once('SIGINT', () => controller.abort())
  process.once('SIGTERM', () => controller.abort())
  return controller.signal
}
