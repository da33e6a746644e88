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
  const picture = (qr ?? output.onTerminal) ? await qrPicture(created.link, output.colours) : undefined
  const fits = picture !== undefined && picture.width <= output.columns
  output.result('invite', created, () => [
    created.link,
    '',
    ...(picture === undefined ? [] : qr === true || fits ? [...picture.lines, ''] : [`(The terminal is too narrow for its QR code, which takes ${picture.width} columns.)`, '']),
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

export async function join(globals: Globals, link: string, options: { readonly wait?: string }, output: Output): Promise<void> {
  const timeoutMs = Math.max(1, parseSeconds(options.wait ?? '10s', '--wait') * 1000)
  await withClient(globals, async (client) => {
    const peer = await client.invites.join(link)
    output.progress(`joined ${peer}; connecting …`)
    let connected = true
    try {
      await client.connectPeer(peer, { timeoutMs })
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      if (error.code === 'refused') throw inviteRefused(peer, error)
      if (error.code !== 'unreachable' && error.code !== 'timeout') throw error
      connected = false
    }
    output.result('join', { peer, connected }, () => (connected
      ? `Connected to ${peer}.\nTry: postern ping ${peer.slice(0, 8)}`
      : `${peer} is in the roster, but does not answer yet. The daemon goes on trying.\nLook at: postern peers`))
  })
}

/** The link could be read, but who made it does not take it: it was spent, revoked, or has expired by that node's clock. */
function inviteRefused(peer: string, cause: PosternError): PosternError {
  return new PosternError('refused', `${peer} does not take this invite: somebody has used it, it was revoked, or it has expired.`, {
    hint: 'Ask there for a new one (postern invite), and join again by that.', cause,
  })
}
