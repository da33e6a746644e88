import type { Client } from '../client/client.ts'
import { PosternError } from '../core/base/errors.ts'
import { parseCount, parsePeerName, parseSeconds } from './arguments.ts'
import type { Globals, Output } from './output.ts'
import { qrPicture } from './qr-code.ts'
import { withClient } from './session.ts'
import { ago, safeLine, table } from './text.ts'

export interface InviteOptions {
  readonly uses?: string
  readonly expires?: string
  readonly name?: string
  readonly list?: boolean
  readonly revoke?: string
  /** Missing: as it fits. */
  readonly qr?: boolean
}

export async function invite(globals: Globals, options: InviteOptions, output: Output): Promise<void> {
  const { uses = '1', expires = '24h', name, list, revoke, qr } = options
  if (qr === true && output.json) throw new PosternError('params', '--qr is a picture for people, and --json is for programs.', { hint: 'Leave out one of the two.' })
  if (revoke !== undefined) await revokeInvite(globals, revoke, output)
  else if (list === true) await listInvites(globals, output)
  else await createInvite(globals, { uses: parseCount(uses, '--uses'), expiresS: parseSeconds(expires, '--expires'), ...(name === undefined ? {} : { name: parsePeerName(name, '--name') }) }, qr, output)
}

interface NewInvite {
  readonly uses: number
  readonly expiresS: number
  readonly name?: string
}

async function createInvite(globals: Globals, wanted: NewInvite, qr: boolean | undefined, output: Output): Promise<void> {
  const created = await withClient(globals, (client) => client.invites.create(wanted))
  const picture = await pictureOf(created.link, qr, output)
  output.result('invite', created, () => [
    created.link,
    '',
    ...picture,
    `Good for ${wanted.uses} ${wanted.uses === 1 ? 'peer' : 'peers'} and ${ago(wanted.expiresS * 1000)}. Send it to them over something private: whoever has the link can use it.`,
    'There: postern join <link>',
  ].join('\n'))
}

async function listInvites(globals: Globals, output: Output): Promise<void> {
  const invites = await withClient(globals, (client) => client.invites.list())
  output.result('invite-list', { invites }, () => (invites.length === 0 ? 'There are no open invites. Make one: postern invite' : table([
    ['INVITE', 'NAME', 'SPENT', 'EXPIRES IN'],
    ...invites.map((open) => [open.id, safeLine(open.name ?? '-'), `${open.spentBy.length} of ${open.uses}`, ago(open.expires - Date.now())]),
  ])))
}

async function revokeInvite(globals: Globals, id: string, output: Output): Promise<void> {
  await withClient(globals, (client) => client.invites.revoke(id))
  output.result('invite-revoke', { revoked: id }, () => `Invite ${id} is revoked.`)
}

export interface JoinOptions {
  readonly wait?: string
  /** Missing: as it fits. */
  readonly qr?: boolean
}

export async function join(globals: Globals, link: string, options: JoinOptions, output: Output): Promise<void> {
  const timeoutMs = Math.max(1, parseSeconds(options.wait ?? '10s', '--wait') * 1000)
  await withClient(globals, async (client) => {
    const peer = await client.invites.join(link)
    output.progress(`joined ${peer}; connecting …`)
    const connected = await tryPeer(client, peer, timeoutMs)
    if (connected) {
      output.result('join', { peer, connected }, () => connectedText(peer))
      return
    }
    const reply = await client.invites.reply(peer)
    const picture = await pictureOf(reply, options.qr, output)
    output.result('join', { peer, connected, reply }, () => [
      `${peer} is in the roster, but does not answer yet.`,
      'If a router or firewall is in the way, both of you have to knock at the same moment. Send them this reply:',
      '',
      reply,
      '',
      ...picture,
      'There: postern accept <reply>',
      'The daemon goes on trying; for the next 15 minutes it knocks every few seconds. Look at: postern peers',
    ].join('\n'))
  })
}

/** The other half of an invite that found no way: where the one who joined is. */
export async function accept(globals: Globals, reply: string, options: { readonly wait?: string }, output: Output): Promise<void> {
  const timeoutMs = Math.max(1, parseSeconds(options.wait ?? '30s', '--wait') * 1000)
  await withClient(globals, async (client) => {
    const peer = await client.invites.accept(reply)
    output.progress(`${peer} is let in; connecting …`)
    const connected = await tryPeer(client, peer, timeoutMs)
    output.result('accept', { peer, connected }, () => (connected
      ? connectedText(peer)
      : `${peer} is in the roster, but does not answer yet. The daemon goes on trying.\nIs posternd still running there? Why there is no way: postern why ${peer.slice(0, 8)}`))
  })
}

/** Whether a session came about in time. */
async function tryPeer(client: Client, peer: string, timeoutMs: number): Promise<boolean> {
  try {
    await client.connectPeer(peer, { timeoutMs })
    return true
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    if (error.code === 'refused') throw inviteRefused(peer, error)
    if (error.code !== 'unreachable' && error.code !== 'timeout') throw error
    return false
  }
}

function connectedText(peer: string): string {
  return `Connected to ${peer}.\nTry: postern ping ${peer.slice(0, 8)}`
}

/** A QR code and what stands below it, as far as it fits and is wanted. */
async function pictureOf(text: string, wanted: boolean | undefined, output: Output): Promise<readonly string[]> {
  if (!(wanted ?? output.onTerminal)) return []
  const picture = await qrPicture(text, output.colours)
  const fits = picture.width <= output.columns
  return wanted === true || fits ? [...picture.lines, ''] : [`(The terminal is too narrow for its QR code, which takes ${picture.width} columns.)`, '']
}

/** The link could be read, but who made it does not take it: it was spent, revoked, or has expired by that node's clock. */
function inviteRefused(peer: string, cause: PosternError): PosternError {
  return new PosternError('refused', `${peer} does not take this invite: somebody has used it, it was revoked, or it has expired.`, {
    hint: 'Ask there for a new one (postern invite), and join again by that.', cause,
  })
}
