import { randomBytes } from 'node:crypto'
import { toHex } from '../core/base/bytes.ts'
import { PosternError } from '../core/base/errors.ts'
import { toWallTime } from '../core/base/time.ts'
import type { CryptoProvider } from '../core/crypto/provider.ts'
import type { InviteRecord, PeerHandle, ReplyRefusal } from '../core/endpoint/contract.ts'
import { inviteReplyProof, inviteTokenId } from '../core/session/macs.ts'
import { builtSuiteMask } from '../core/session/suites.ts'
import { WIRE_VERSION } from '../core/wire/datagram.ts'
import { decodeInviteLink, encodeInviteLink, INVITE_ADDRESSES_MAX, INVITE_TOKEN_SIZE } from '../core/wire/invite-link.ts'
import { decodeInviteReply, encodeInviteReply, looksLikeReply } from '../core/wire/invite-reply.ts'
import type { InviteCreateRequest, InviteCreateResult, InviteInfo, InviteJoinResult, InviteListResult, InviteReplyResult } from '../core/wire/ipc/ipc-methods.ts'
import type { Nothing } from '../core/wire/ipc/ipc-json.ts'
import { encodePeerId } from '../core/wire/peer-id.ts'
import type { NodeRuntime } from './node-runtime.ts'
import { unknownPeer } from './peer-paths.ts'
import { idBytes } from './router.ts'

const NOTHING: Nothing = {}
/** How long somebody may take to carry a reply back by hand. */
const PATIENCE_MS = 15 * 60_000

export interface InviteServiceOptions {
  readonly provider: CryptoProvider
  /** Where peers can reach this node, 18 bytes each, best first. */
  readonly addresses: () => readonly Uint8Array[]
  /** Each destination sees another port of this node. */
  readonly hard: () => boolean
  /** Waits a moment for addresses that are being found out. */
  readonly freshen: () => Promise<void>
  /** A peer came into the roster, left it, or has another name. */
  readonly onRoster: (id: string) => void
}

/** Invites: made here, joined elsewhere, and answered by a reply where only both at once can open the way. */
export class InviteService {
  readonly #runtime: NodeRuntime
  readonly #options: InviteServiceOptions
  readonly #durable: () => Promise<void>
  readonly #meet: (peer: PeerHandle, patienceMs: number) => void

  /**
   * @param meet from now on both sides may be looking for each other
   * @param durable what was changed is taken over by the router and on disk
   */
  constructor(runtime: NodeRuntime, options: InviteServiceOptions, meet: (peer: PeerHandle, patienceMs: number) => void, durable: () => Promise<void>) {
    this.#runtime = runtime
    this.#options = options
    this.#durable = durable
    this.#meet = meet
  }

  async create(request: InviteCreateRequest): Promise<InviteCreateResult> {
    const token = new Uint8Array(randomBytes(INVITE_TOKEN_SIZE))
    // Unix seconds in the link: rounded up, so that the link never outlives the record by a second.
    const expires = Math.floor(Date.now() / 1000) + request.expiresS
    const invite: InviteRecord = { token, expires: toWallTime(expires * 1000), name: request.name, spentBy: [], uses: request.uses }
    if (!this.#runtime.endpoint.addInvite(this.#runtime.now(), invite)) {
      throw new PosternError('limit', 'There are as many open invites as there may be.', { hint: 'Revoke some: postern invite --list', details: { limit: 'invites' } })
    }
    await Promise.all([this.#durable(), this.#options.freshen()])
    const link = encodeInviteLink({ id: this.#runtime.endpoint.id, token, expires, versions: 1 << WIRE_VERSION, suites: builtSuiteMask, addresses: this.#ownAddresses(), hard: this.#options.hard() })
    return { link, id: this.#inviteId(token) }
  }

  /** Puts the inviter into the roster and dials it; the answer does not wait for the session. */
  async join(text: string): Promise<InviteJoinResult> {
    const read = decodeInviteLink(text.trim(), this.#options.provider)
    if (read.kind === 'malformed') {
      if (looksLikeReply(text.trim())) throw new PosternError('params', 'This is not an invite but the reply to one.', { hint: 'Use it where the invite was made: postern accept <reply>', details: { where: 'scheme' } })
      throw new PosternError('params', `This is not an invite link of this version (${read.where}).`, { hint: 'Copy the whole link, from postern: to its end.', details: { where: read.where } })
    }
    const { id, token, expires, addresses, hard } = read.link
    if (expires * 1000 <= Date.now()) throw new PosternError('params', 'This invite has expired.', { hint: 'Ask for a new one: postern invite', details: { where: 'expired' } })
    const { endpoint } = this.#runtime
    const now = this.#runtime.now()
    const peer = endpoint.addPeer(now, id, { name: undefined, addresses, invite: { token, expires: toWallTime(expires * 1000) } })
    if (peer === undefined) throw new PosternError('params', 'This invite was made by this very node.', { hint: 'Use it on the other machine: postern join <link>' })
    endpoint.noteWhereabouts(peer, { hard, addresses }, true)
    this.#options.onRoster(encodePeerId(id))
    await this.#durable()
    endpoint.connect(this.#runtime.now(), id, { addresses, now: true })
    this.#runtime.schedule()
    return { peer: encodePeerId(id) }
  }

  /** Where this node is, for the one whose invite it joined by; from now on it is dialed again and again, so that its reply finds the way open. */
  async reply(id: string): Promise<InviteReplyResult> {
    const { endpoint } = this.#runtime
    const peer = endpoint.findPeer(idBytes(id))
    if (peer === undefined) throw unknownPeer(id)
    const invite = endpoint.joinedBy(peer)
    if (invite === undefined || invite.expires <= Date.now()) {
      throw new PosternError('params', `No invite of ${id} that still holds was joined here.`, { hint: 'Ask for one there (postern invite), and join by it: postern join <link>', details: { where: 'invite' } })
    }
    await this.#options.freshen()
    const { provider } = this.#options
    const content = { id: endpoint.id, tokenId: inviteTokenId(provider, invite.token), addresses: this.#ownAddresses(), hard: this.#options.hard() }
    this.#meet(peer, PATIENCE_MS)
    return { reply: encodeInviteReply(content, (signed) => inviteReplyProof(provider, invite.token, idBytes(id), signed)) }
  }

  /** Somebody who holds an invite of this node told where they are: they are in the roster now, and dialed for a while. */
  async accept(text: string): Promise<InviteJoinResult> {
    const read = decodeInviteReply(text.trim(), this.#options.provider)
    if (read.kind === 'malformed') {
      const isInvite = text.trim().startsWith('postern:1/')
      throw new PosternError('params', isInvite ? 'This is an invite, not the reply to one.' : `This is not a reply of this version (${read.where}).`, {
        hint: isInvite ? 'Join by it: postern join <link>' : 'Copy the whole reply, from postern: to its end.', details: { where: read.where },
      })
    }
    const peer = this.#runtime.endpoint.acceptReply(this.#runtime.now(), read.reply)
    if (typeof peer === 'string') throw replyError(peer)
    this.#runtime.endpoint.noteWhereabouts(peer, read.reply, true)
    const id = encodePeerId(read.reply.id)
    this.#options.onRoster(id)
    await this.#durable()
    this.#meet(peer, PATIENCE_MS)
    return { peer: id }
  }

  list(): InviteListResult {
    const invites = this.#runtime.endpoint.invites().map((invite): InviteInfo => {
      const base = { id: this.#inviteId(invite.token), uses: invite.uses, spentBy: invite.spentBy.map(encodePeerId), expires: invite.expires }
      return invite.name === undefined ? base : { ...base, name: invite.name }
    })
    return { invites }
  }

  async revoke(id: string): Promise<Nothing> {
    const invite = this.#runtime.endpoint.invites().find((candidate) => this.#inviteId(candidate.token) === id)
    if (invite === undefined || !this.#runtime.endpoint.revokeInvite(this.#runtime.now(), invite.token)) {
      throw new PosternError('params', `There is no invite ${id}.`, { hint: 'List them: postern invite --list' })
    }
    await this.#durable()
    return NOTHING
  }

  #ownAddresses(): readonly Uint8Array[] {
    return this.#options.addresses().slice(0, INVITE_ADDRESSES_MAX)
  }

  /** An invite's own name, by which it is listed and revoked: it does not show the token. */
  #inviteId(token: Uint8Array): string {
    return toHex(inviteTokenId(this.#options.provider, token))
  }
}

const replyRefusals: Readonly<Record<ReplyRefusal, { readonly text: string; readonly hint: string }>> = {
  unknown: { text: 'This reply is to an invite that this node does not have (any more).', hint: 'Is it the node that made the invite? Its open invites: postern invite --list' },
  forged: { text: 'Who made this reply does not hold the invite, or the reply was changed on its way.', hint: 'Copy the whole reply again, from postern: to its end.' },
  expired: { text: 'The invite of this reply has expired.', hint: 'Send a new one: postern invite' },
  spent: { text: 'The invite of this reply was used by somebody else.', hint: 'Send a new one: postern invite' },
  self: { text: 'This reply was made by this very node.', hint: 'Use it where the invite was made: postern accept <reply>' },
}

function replyError(refusal: ReplyRefusal): PosternError {
  const { text, hint } = replyRefusals[refusal]
  return new PosternError(refusal === 'spent' || refusal === 'expired' ? 'refused' : 'params', text, { hint, details: { where: refusal } })
}
