/** Replies to invites: who is let in by one, and who is not. */
import { describe, expect, it } from 'vitest'
import { toWallTime } from '../../../src/core/base/time.ts'
import type { InviteRecord } from '../../../src/core/endpoint/contract.ts'
import { inviteReplyProof, inviteTokenId } from '../../../src/core/session/macs.ts'
import { decodeInviteReply, encodeInviteReply, type InviteReply } from '../../../src/core/wire/invite-reply.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { address, LoneEndpoint } from '../../support/lone-endpoint.ts'

const provider = new SimProvider(new SeededRandom(1))
const TOKEN = repeated(7, 16)
const WALL = 1_770_000_000_000

function inviter(change: Partial<InviteRecord> = {}): LoneEndpoint {
  const invite: InviteRecord = { token: TOKEN, expires: toWallTime(WALL + 3_600_000), name: 'anna', spentBy: [], uses: 1, ...change }
  return new LoneEndpoint({ provider, seed: repeated(1, 32), invites: [invite] })
}

/** What a joiner's daemon writes, to whom it means to. */
function replyOf(seed: number, to: LoneEndpoint, { token = TOKEN, port = 7000 } = {}): InviteReply {
  const joiner = new LoneEndpoint({ provider, seed: repeated(seed, 32) })
  const content = { id: joiner.endpoint.id, tokenId: inviteTokenId(provider, token), addresses: [address('198.51.100.9', port)], hard: false }
  const read = decodeInviteReply(encodeInviteReply(content, (signed) => inviteReplyProof(provider, token, to.endpoint.id, signed)), provider)
  if (read.kind !== 'reply') throw new Error(read.where)
  return read.reply
}

describe('a reply to an invite', () => {
  it('puts its writer into the roster with the name of the invite, spends it, and both are written', () => {
    const lone = inviter()
    const reply = replyOf(2, lone)
    const peer = lone.act((endpoint, now) => endpoint.acceptReply(now, reply))
    expect(peer).toBe(lone.endpoint.findPeer(reply.id))
    expect(lone.endpoint.invites()[0]!.spentBy).toEqual([reply.id])
    lone.drain()
    const written = lone.events.filter((event) => event.kind === 'persist')
    expect(written.map(({ value }) => value?.kind)).toEqual(['invite', 'peer'])
    expect(written[1]!.value).toMatchObject({ record: { name: 'anna', addresses: reply.addresses } })
    expect(written.every(({ barrier }) => barrier)).toBe(true)
  })

  it('leads to a dial of the addresses it names', () => {
    const lone = inviter()
    const reply = replyOf(2, lone)
    lone.act((endpoint, now) => endpoint.acceptReply(now, reply))
    lone.act((endpoint, now) => endpoint.connect(now, reply.id, { addresses: [], now: true }))
    expect(lone.drain().map(({ to }) => to)).toContainEqual(reply.addresses[0])
  })

  it('may come again, from its writer only', () => {
    const lone = inviter()
    const first = replyOf(2, lone)
    expect(lone.act((endpoint, now) => endpoint.acceptReply(now, first))).toEqual(expect.any(Number))
    expect(lone.act((endpoint, now) => endpoint.acceptReply(now, replyOf(2, lone, { port: 7001 })))).toEqual(expect.any(Number))
    expect(lone.act((endpoint, now) => endpoint.acceptReply(now, replyOf(3, lone)))).toBe('spent')
    expect(lone.endpoint.peers()).toHaveLength(1)
  })

  it('is refused with the reason, and changes nothing', () => {
    const lone = inviter()
    const good = replyOf(2, lone)
    const elsewhere = replyOf(2, new LoneEndpoint({ provider, seed: repeated(4, 32) }))
    const redirected = { ...good, content: good.content.slice() }
    redirected.content[redirected.content.length - 1]! ^= 1
    const cases = [
      [replyOf(2, lone, { token: repeated(8, 16) }), 'unknown'], [elsewhere, 'forged'], [redirected, 'forged'], [{ ...good, proof: repeated(0, 16) }, 'forged'], [replyOf(1, lone), 'self'],
    ] as const
    for (const [reply, refusal] of cases) expect(lone.act((endpoint, now) => endpoint.acceptReply(now, reply))).toBe(refusal)
    const expired = inviter({ expires: toWallTime(WALL - 1) })
    expect(expired.act((endpoint, now) => endpoint.acceptReply(now, replyOf(2, expired)))).toBe('expired')
    expect(lone.endpoint.peers()).toEqual([])
    expect(lone.endpoint.invites()[0]!.spentBy).toEqual([])
  })

  it('can be written by who joined, as long as the invite holds', () => {
    const lone = inviter()
    const joiner = new LoneEndpoint({ provider, seed: repeated(2, 32) })
    const peer = joiner.act((endpoint, now) => endpoint.addPeer(now, lone.endpoint.id, { name: undefined, addresses: [], invite: { token: TOKEN, expires: toWallTime(WALL + 1) } }))!
    expect(joiner.endpoint.joinedBy(peer)?.token).toEqual(TOKEN)
  })
})
