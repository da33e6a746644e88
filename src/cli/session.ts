import { connect, type Client, type PeerInfo } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { nearest } from '../core/base/nearest.ts'
import { parsePeerIdInput, encodePeerId, PEER_ID_TEXT_SIZE } from '../core/wire/peer-id.ts'
import type { Globals } from './output.ts'

/** Shorter beginnings of an id are a slip of the finger rather than a peer. */
const PREFIX_LENGTH_MIN = 4

/** Runs a command with a connection to the daemon, by the API key in POSTERN_KEY if there is one, and closes it whatever happens. */
export async function withClient<T>(globals: Globals, action: (client: Client) => Promise<T>): Promise<T> {
  const key = process.env['POSTERN_KEY'] ?? ''
  const client = await connect({ name: 'postern', reconnect: false, ...(globals.dir === undefined ? {} : { dir: globals.dir }), ...(key === '' ? {} : { key }) })
  try {
    return await action(client)
  } finally {
    await client.close()
  }
}

/** The id that a person meant: a whole id (also of a peer that is not known yet), a name from the roster, or the beginning of an id that only one peer has. */
export async function resolvePeer(client: Client, text: string): Promise<string> {
  return findPeer(text, await client.peers())
}

/** A peer that the daemon knows; `unknown_peer` for any other. */
export async function knownPeer(client: Client, text: string): Promise<PeerInfo> {
  const peers = await client.peers()
  const id = findPeer(text, peers)
  const peer = peers.find((candidate) => candidate.id === id)
  if (peer === undefined) throw new PosternError('unknown_peer', `There is no peer ${id}.`, { hint: 'Names and ids: postern peers' })
  return peer
}

export function findPeer(text: string, peers: readonly PeerInfo[]): string {
  // A whole id goes first: no name can stand for another peer's id.
  const whole = parsePeerIdInput(text)
  if (whole.kind === 'id') return encodePeerId(whole.id)
  const named = peers.filter((peer) => peer.name === text)
  if (named.length === 1) return named[0]!.id
  if (named.length > 1) throw ambiguous(text, named)
  if (text.length === PEER_ID_TEXT_SIZE) return parseWholeId(text)
  const begins = text.length < PREFIX_LENGTH_MIN ? [] : peers.filter((peer) => peer.id.startsWith(text.toLowerCase()))
  if (begins.length === 1) return begins[0]!.id
  if (begins.length > 1) throw ambiguous(text, begins)
  throw new PosternError('unknown_peer', `No peer is called ${text}${suggestion(text, peers)}`, { hint: peers.length === 0 ? 'There are no peers yet. Let somebody in: postern invite' : 'Names and ids: postern peers' })
}

/** The text form of an id, as it is written everywhere else. Throws `bad_peer_id`. */
export function parseWholeId(text: string): string {
  const parsed = parsePeerIdInput(text)
  if (parsed.kind === 'id') return encodePeerId(parsed.id)
  throw new PosternError('bad_peer_id', `${text} is not a peer id (${parsed.where}).`, { hint: 'Copy it again from `postern id` on the other machine.' })
}

function suggestion(text: string, peers: readonly PeerInfo[]): string {
  const name = nearest(text, peers.flatMap((peer) => peer.name ?? []))
  return name === undefined ? '.' : `; did you mean ${name}?`
}

function ambiguous(text: string, peers: readonly PeerInfo[]): PosternError {
  const shown = peers.slice(0, 3).map((peer) => (peer.name === undefined || peer.name === text ? peer.id : `${peer.id} (${peer.name})`))
  return new PosternError('unknown_peer', `${text} could be ${peers.length} peers.`, { hint: `Say more of the id: ${shown.join(', ')}${peers.length > shown.length ? ' …' : ''}` })
}

/** Aborts with Ctrl-C or SIGTERM. The second one ends the program at once, whatever it waits for. */
export function interruption(): AbortSignal {
  const controller = new AbortController()
  process.once('SIGINT', () => controller.abort())
  process.once('SIGTERM', () => controller.abort())
  return controller.signal
}
