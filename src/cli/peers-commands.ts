import type { PeerInfo } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { parsePeerAddress, parsePeerName } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { knownPeer, parseWholeId, withClient } from './session.ts'
import { ago, millisecondsText, percentText, safeLine, table, pathText } from './text.ts'

export interface AddOptions {
  readonly name?: string
  readonly address?: readonly string[]
}

export async function peers(globals: Globals, output: Output): Promise<void> {
  const found = await withClient(globals, (client) => client.peers())
  output.result('peers', { peers: found }, () => peersTable(found, Date.now()))
}

export function peersTable(found: readonly PeerInfo[], now: number): string {
  if (found.length === 0) return 'There are no peers yet. Let somebody in: postern invite, or join somebody: postern join <link>'
  return table([['PEER', 'NAME', 'STATE', 'FOR', 'PATH', 'RTT', 'LOSS'], ...found.map((peer) => [
    peer.id, safeLine(peer.name ?? '-'), peer.state, ago(now - peer.since), peer.path === undefined ? '-' : pathText(peer.path),
    peer.rttMs === undefined ? '-' : `${millisecondsText(peer.rttMs)} ms`, peer.loss === undefined ? '-' : percentText(peer.loss),
  ])])
}

export async function addPeer(globals: Globals, text: string, options: AddOptions, output: Output): Promise<void> {
  const id = parseWholeId(text)
  const name = options.name === undefined ? undefined : parsePeerName(options.name, '--name')
  const candidates = (options.address ?? []).map((address) => parsePeerAddress(address, '--address'))
  const own = await withClient(globals, async (client) => {
    refuseTakenName(name, id, await client.peers())
    await client.addPeer(id, { ...(name === undefined ? {} : { name }), ...(candidates.length === 0 ? {} : { candidates }) })
    return client.peerId
  })
  output.result('peers-add', { added: id, ...(name === undefined ? {} : { name }) }, () => [
    `${name ?? id} is in the roster.`,
    `There, add this node too: postern peers add ${own}`,
    `Then: postern ping ${name ?? id.slice(0, 8)}`,
  ].join('\n'))
}

export async function removePeer(globals: Globals, who: string, output: Output): Promise<void> {
  const id = await withClient(globals, async (client) => {
    const peer = await knownPeer(client, who)
    await client.removePeer(peer.id)
    return peer.id
  })
  output.result('peers-remove', { removed: id }, () => `${id} is out of the roster, and the invites it spent are revoked.\nTo let it in again: postern invite`)
}

/** Adding once more with a name is renaming. */
export async function renamePeer(globals: Globals, who: string, newName: string, output: Output): Promise<void> {
  const name = parsePeerName(newName, '<name>')
  const id = await withClient(globals, async (client) => {
    const peer = await knownPeer(client, who)
    refuseTakenName(name, peer.id, await client.peers())
    await client.addPeer(peer.id, { name })
    return peer.id
  })
  output.result('peers-rename', { renamed: id, name }, () => `${id} is called ${name} from now on.`)
}

/** Two peers of one name could only be told apart by their ids, and no command would take the name any more. */
function refuseTakenName(name: string | undefined, id: string, known: readonly PeerInfo[]): void {
  const taken = name === undefined ? undefined : known.find((peer) => peer.name === name && peer.id !== id)
  if (taken !== undefined) throw new PosternError('params', `${taken.id} is called ${name} already.`, { hint: 'Choose another name. Names and ids: postern peers' })
}
