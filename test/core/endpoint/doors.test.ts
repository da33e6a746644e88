/** Who joined by an invite, and dials before the other side can know of it: by which socket, and how far (decision 137). */
import { describe, expect, it } from 'vitest'
import { formatAddress } from '../../../src/core/base/address.ts'
import type { LinkId } from '../../../src/core/base/domain.ts'
import { toWallTime } from '../../../src/core/base/time.ts'
import type { EndpointAction } from '../../../src/core/endpoint/contract.ts'
import { encodeCookieDatagram } from '../../../src/core/wire/datagram.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { HandPeer } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, UDP, type LoneOptions, type Sent } from '../../support/lone-endpoint.ts'
import { SECOND } from '../../support/sim-world.ts'
import { NatHomes } from '../../world/nat-homes.ts'

const INVITER = address('11.0.0.12')
const AT_HOME = address('10.2.0.2')
const SCOUT = 7 as LinkId
const DOOR_TTL = 8

interface Setting {
  readonly lone: LoneEndpoint
  readonly peer: HandPeer
  /** What the dial sent at once. */
  readonly first: readonly Sent[]
}

function joined(change: Partial<LoneOptions> = {}, invited = true): Setting {
  const peer = new HandPeer(new SimProvider(new SeededRandom(2)), 9)
  const lone = new LoneEndpoint({ provider: new SimProvider(new SeededRandom(1)), seed: repeated(1), setsTtl: true, ...change })
  const addresses = [AT_HOME, INVITER]
  lone.act((endpoint, now) => endpoint.addPeer(now, peer.id, { name: undefined, addresses, invite: invited ? { token: repeated(9, 16), expires: toWallTime(lone.wall + 3_600_000) } : undefined }))
  lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses, now: true }))
  return { lone, peer, first: lone.advance(1000) }
}

function actions(lone: LoneEndpoint): EndpointAction[] {
  const all: EndpointAction[] = []
  for (let action = lone.endpoint.pollAction(); action !== undefined; action = lone.endpoint.pollAction()) all.push(action)
  return all
}

function openScout(lone: LoneEndpoint): Sent[] {
  const wanted = actions(lone).find((action) => action.kind === 'open-sockets')
  if (wanted?.kind !== 'open-sockets') throw new Error('nobody asked for a socket')
  expect(wanted.count).toBe(1)
  lone.open(SCOUT, 'udp', { spare: true, token: wanted.token, segmentsMax: 1 })
  return lone.drain()
}

const ways = (sent: readonly Sent[]): string[] => sent.map(({ link, to, ttl }) => `${link === UDP ? 'usual' : 'scout'} ${String(to) === String(INVITER) ? 'outside' : 'home'} ${ttl}`)

describe('a dial of who joined by an invite', () => {
  it('opens its own door only, and asks from another port', () => {
    const { lone, first } = joined()
    expect(ways(first)).toEqual(['usual home 0', `usual outside ${DOOR_TTL}`])
    expect(ways(openScout(lone))).toEqual(['scout outside 0'])
    // Copies go the same ways.
    expect(ways(lone.advance(SECOND)).sort()).toEqual(['scout outside 0', 'usual home 0', `usual outside ${DOOR_TTL}`])
  })

  it('begins anew from the usual socket when the scout hears an answer, and takes no session by the scout', () => {
    const { lone, peer, first } = joined()
    openScout(lone)
    const again = lone.receive({ from: INVITER, link: SCOUT, bytes: peer.answer(first[1]!.bytes).datagram })
    expect(ways(again)).toEqual(['usual home 0', 'usual outside 0'])
    expect(actions(lone)).toContainEqual({ kind: 'close-link', link: SCOUT })
    expect(lone.counters['sessions_opened']).toBe(0)
    lone.receive({ from: INVITER, bytes: peer.answer(again[1]!.bytes).datagram })
    expect(lone.counters['sessions_opened']).toBe(1)
  })

  it('does the same for a COOKIE, which is good at the port of the scout alone', () => {
    const { lone } = joined()
    openScout(lone)
    expect(ways(lone.receive({ from: INVITER, link: SCOUT, bytes: encodeCookieDatagram(1, new Uint8Array(16), new Uint8Array(32)) }))).toEqual(['usual home 0', 'usual outside 0'])
  })

  it('goes the whole way with the next copy where there is no such socket, and after a minute anyway', () => {
    const without = joined()
    expect(ways(without.lone.advance(SECOND)).sort()).toEqual(['usual home 0', 'usual outside 0'])
    const { lone } = joined()
    openScout(lone)
    expect(ways(lone.advance(58 * SECOND)).filter((way) => way === 'usual outside 0')).toEqual([])
    expect(ways(lone.advance(10 * SECOND))).toContain('usual outside 0')
  })

  it('goes the whole way to an address that is learnt later, and gives the socket back when it gives up', () => {
    const { lone, peer } = joined()
    openScout(lone)
    const learnt = address('11.0.0.77')
    lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses: [learnt], now: true }))
    expect(lone.advance(1000).filter(({ to }) => String(to) === String(learnt)).map(({ link, ttl }) => [link, ttl])).toEqual([[UDP, 0]])
    lone.advance(100 * SECOND)
    expect(actions(lone)).toContainEqual({ kind: 'close-link', link: SCOUT })
  })

  it('is as any other once there was a session', () => {
    const { lone, peer, first } = joined()
    openScout(lone)
    const again = lone.receive({ from: INVITER, link: SCOUT, bytes: peer.answer(first[1]!.bytes).datagram })
    lone.receive({ from: INVITER, bytes: peer.answer(again[1]!.bytes).datagram })
    actions(lone)
    const handle = lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses: [], now: true }))
    lone.act((endpoint, now) => { endpoint.disconnect(now, handle!) })
    lone.advance(30 * SECOND)
    lone.act((endpoint, now) => endpoint.connect(now, peer.id, { addresses: [INVITER], now: true }))
    const redial = lone.advance(1000).filter(({ ttl, to }) => String(to) === String(INVITER) || ttl > 0)
    expect(redial.length).toBeGreaterThan(0)
    expect(redial.filter(({ ttl }) => ttl > 0)).toEqual([])
    expect(actions(lone).filter(({ kind }) => kind === 'open-sockets')).toEqual([])
  })

  it('is as any other where the socket has no TTL for one datagram, or nobody was invited', () => {
    for (const { lone, first } of [joined({ setsTtl: false }), joined({}, false)]) {
      expect(ways(first)).toEqual(['usual home 0', 'usual outside 0'])
      expect(actions(lone)).toEqual([])
    }
  })

  it('gives the socket back with its end, open or not', () => {
    const { lone, peer } = joined()
    openScout(lone)
    lone.act((endpoint, now) => endpoint.removePeer(now, peer.id))
    expect(actions(lone)).toContainEqual({ kind: 'close-link', link: SCOUT })
    const early = joined()
    const asked = actions(early.lone).find((action) => action.kind === 'open-sockets')!
    early.lone.act((endpoint, now) => endpoint.removePeer(now, early.peer.id))
    expect(actions(early.lone)).toContainEqual({ kind: 'cancel-dial', token: (asked as { token: number }).token })
  })
})

describe('an inviter that can be reached', () => {
  it.each(['none', 'full'] as const)('%s: is reached without a reply, by the usual socket, and no other stays open', (kind) => {
    for (const seed of [1, 2]) {
      const homes = new NatHomes(seed, [kind, 'port'])
      homes.learn()
      expect(homes.join(5)).toBeLessThan(0.2)
      const [inviter, joiner] = homes.players
      expect(joiner.node.spareSockets).toBe(0)
      const path = inviter.node.endpoint.peerStats(inviter.handleOf(joiner))!.paths.find(({ active }) => active)!
      expect(formatAddress(path.address)).toBe('11.0.0.12:7000')
    }
  })
})
