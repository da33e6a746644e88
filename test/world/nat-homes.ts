import { encodeAddress, formatAddress, isIPv4 } from '../../src/core/base/address.ts'
import { minute, toWallTime } from '../../src/core/base/time.ts'
import type { PeerHandle } from '../../src/core/base/domain.ts'
import type { Whereabouts } from '../../src/core/path/meeting.ts'
import { inviteReplyProof, inviteTokenId } from '../../src/core/session/macs.ts'
import { decodeInviteReply, encodeInviteReply } from '../../src/core/wire/invite-reply.ts'
import { Nat, type NatModel } from '../../src/sim/nat.ts'
import { NatNetwork } from '../../src/sim/nat-network.ts'
import { perfectWire } from '../../src/sim/network.ts'
import type { NatKind } from '../lab/nat-rules.ts'
import { repeated } from '../support/bytes.ts'
import { simStunServer } from '../support/sim-router.ts'
import { SECOND, SimWorld, type Player } from '../support/sim-world.ts'

/** As the lab has them (test/lab/nat.ts): two public addresses of one server machine, homes 10.x, outside 11.0.0.1x. */
const SERVERS = [encodeAddress('11.0.0.2', 3478)!, encodeAddress('11.0.0.3', 3478)!]
/** One way over the public net, and about what a router remembers. */
const DELAY = 10_000
const LIFETIME = 30 * SECOND
/** Who learns no outside address by UDP in this time asks by TCP (decision 100). */
const UDP_PATIENCE_S = 1
/** A meeting dials anew this often (decision 094). */
const MEETING_PAUSE = 20 * SECOND
/** While `postern join` asks where it is, its dial goes on already. */
const REPLY_S = 0.3

const masquerade = { mapping: 'endpoint-independent', filtering: 'address-and-port-dependent', ports: 'kept', lifetime: LIFETIME } as const
const symmetric = { ...masquerade, mapping: 'address-and-port-dependent', ports: 'random' } as const

/** Kinds of the lab's routers as RFC 4787 names them, from the machine outwards. */
const models: Readonly<Record<NatKind, readonly NatModel[]>> = {
  none: [], full: [{ ...masquerade, filtering: 'endpoint-independent' }], addr: [{ ...masquerade, filtering: 'address-dependent' }], port: [masquerade], sym: [symmetric],
  cgnat: [masquerade, masquerade], cgnatsym: [masquerade, symmetric], udpblock: [{ ...masquerade, blocks: 'udp' }],
}

const FIRST = 'first'
const TOKEN = repeated(9, 16)

export interface NatMeeting {
  readonly path: 'udp' | 'tcp' | 'none'
  /** From when both know where the other may be, until both have a session; Infinity: not in time. */
  readonly seconds: number
  /** … until what an app said at once is there. */
  readonly first: number
}

/** A home of a simulated world: a node, and where it believes it is. */
interface Home {
  readonly player: Player
  /** Where a server sees its connections, where UDP does not tell. */
  tcpAddress: Uint8Array | undefined
}

/**
 * Two homes pair by a two-way invite in virtual time: real endpoints with everything that the core does, behind modelled routers. What the daemon does
 * around them is done here as it does it.
 */
export class NatHomes {
  readonly world: SimWorld
  readonly network: NatNetwork
  readonly #homes: readonly [Home, Home]

  /** @param spoilt their routers remember what they did not let in */
  constructor(seed: number, kinds: readonly [NatKind, NatKind], spoilt = false) {
    let network: NatNetwork | undefined
    this.world = new SimWorld(seed, false, (scheduler, random) => (network = new NatNetwork(scheduler, random)))
    this.network = network!
    this.network.setConditions({ ...perfectWire, delay: DELAY })
    for (const server of SERVERS) simStunServer(this.world, server)
    this.#homes = [this.#home(kinds[0], 1, seed, spoilt), this.#home(kinds[1], 2, seed, spoilt)]
  }

  #home(kind: NatKind, number: 1 | 2, seed: number, spoilt: boolean): Home {
    const outside = `11.0.0.1${number}`
    const host = kind === 'none' ? outside : `10.${number}.0.2`
    const stages = models[kind].map((model) => ({ ...model, spoilt }))
    const address = (text: string): Uint8Array => encodeAddress(text, 0)!
    if (stages.length > 0) {
      const [near, far] = stages
      const nat = new Nat(near!, address(far === undefined ? outside : `100.64.${number}.2`), this.world.random.fork())
      this.network.home([address(host)], nat, far === undefined ? undefined : new Nat(far, address(outside), this.world.random.fork()))
    }
    // Either may have the lower id.
    const player = this.world.player(`${number}`, seed % 2 === 0 ? number : 3 - number, host, {}, 'shared-port')
    return { player, tcpAddress: undefined }
  }

  /** Both ask where they are seen; then no server answers any more. */
  learn(): void {
    const servers = SERVERS.map((address) => ({ name: formatAddress(address), address }))
    for (const { player } of this.#homes) player.node.act((endpoint, now) => endpoint.stun.setServers(now, servers))
    this.world.run(UDP_PATIENCE_S)
    for (const server of SERVERS) this.network.listen(server, () => undefined)
    for (const home of this.#homes) this.#learnTcp(home)
    this.world.run(1)
    for (const server of SERVERS) {
      this.network.unlisten(server)
      this.network.unbind(server)
    }
  }

  /** STUN over TCP: the server says where it sees the port that is listened on. */
  #learnTcp(home: Home): void {
    const { endpoint } = home.player.node
    if (endpoint.stun.addresses.length > 0) return
    this.network.connect(home.player.address, SERVERS[0]!, (side) => {
      if (typeof side === 'string') return
      home.tcpAddress = side.peer.remote
      endpoint.stun.blocked = true
      side.forget()
    })
  }

  #addresses({ player, tcpAddress }: Home): readonly Uint8Array[] {
    const reflexive = player.node.endpoint.stun.addresses.map(({ address }) => address)
    return [player.address, ...reflexive, ...(tcpAddress === undefined ? [] : [tcpAddress])].filter((address, i, all) => isIPv4(address) && all.findIndex((other) => String(other) === String(address)) === i)
  }

  get players(): readonly [Player, Player] {
    return [this.#homes[0].player, this.#homes[1].player]
  }

  #whereabouts(home: Home): Whereabouts {
    return { addresses: this.#addresses(home), hard: home.player.node.endpoint.stun.mapping === 'dependent' }
  }

  /** The second joins by an invite of the first, as `join` does. */
  #join(): PeerHandle {
    const [near] = this.#homes
    const [inviter, joiner] = this.players
    const invite = { token: TOKEN, expires: toWallTime(this.world.scheduler.clock().wall + 3_600_000) }
    inviter.node.act((endpoint, now) => endpoint.addInvite(now, { ...invite, name: undefined, spentBy: [], uses: 1 }))
    const known = this.#whereabouts(near)
    return joiner.node.act((endpoint, now) => {
      const added = endpoint.addPeer(now, inviter.id, { name: undefined, addresses: known.addresses, invite })!
      endpoint.noteWhereabouts(added, known, true)
      endpoint.connect(now, inviter.id, { addresses: known.addresses, now: true })
      return added
    })
  }

  /** Seconds until both are connected, without a reply. */
  join(limit: number): number {
    this.#join()
    const [inviter, joiner] = this.players
    return this.world.until(() => inviter.stateOf(joiner) === 'connected' && joiner.stateOf(inviter) === 'connected', limit)
  }

  /** What comes of it within `limit` seconds. */
  meet(limit: number): NatMeeting {
    const [inviter, joiner] = this.players
    const { provider } = joiner
    const known = this.#homes.map((home) => this.#whereabouts(home))
    const peer = this.#join()
    this.world.run(REPLY_S)
    const reply = decodeInviteReply(encodeInviteReply({ id: joiner.id, tokenId: inviteTokenId(provider, TOKEN), ...known[1]! }, (signed) => inviteReplyProof(provider, TOKEN, inviter.id, signed)), provider)
    if (reply.kind !== 'reply') throw new Error(`the reply is malformed: ${reply.where}`)
    this.#begin(joiner, inviter, peer)
    this.world.run(REPLY_S)
    // `accept`
    const accepted = inviter.node.act((endpoint, now) => endpoint.acceptReply(now, reply.reply))
    if (typeof accepted === 'string') throw new Error(`the reply is refused: ${accepted}`)
    inviter.node.endpoint.noteWhereabouts(accepted, reply.reply, true)
    this.#begin(inviter, joiner, accepted)
    // As the daemon does for a program that opened a channel to it meanwhile: at the first moment.
    let seconds = this.world.until(() => inviter.stateOf(joiner) === 'connected', limit)
    if (seconds < Infinity) inviter.send(inviter.open(joiner), FIRST)
    seconds += this.world.until(() => inviter.stateOf(joiner) === 'connected' && joiner.stateOf(inviter) === 'connected', limit)
    const path = inviter.node.endpoint.peerStats(accepted)?.paths.find(({ active }) => active)
    const first = seconds + this.world.until(() => joiner.received.includes(FIRST), 10)
    return { path: path === undefined ? 'none' : path.kind === 'tcp' ? 'tcp' : 'udp', seconds, first }
  }

  /** Dials again and again, and guesses where that helps. */
  #begin(player: Player, other: Player, peer: PeerHandle): void {
    const { scheduler } = this.world
    const dial = (): void => {
      if (player.stateOf(other) === 'connected') return
      player.node.act((endpoint, now) => endpoint.connect(now, other.id, { addresses: [], now: true, meeting: true }))
      scheduler.at(scheduler.now + MEETING_PAUSE, dial)
    }
    dial()
    player.node.act((endpoint, now) => { endpoint.meet(now, peer, { patience: 15 * minute, byHand: true }) })
  }

  /** Seconds until a message each way has come, over the path that they met by. */
  talk(): number {
    const [a, b] = this.#homes.map(({ player }) => player) as [Player, Player]
    a.send(a.open(b), 'to b')
    b.send(b.open(a), 'to a')
    return this.world.until(() => a.received.includes('to a') && b.received.includes('to b'), 10)
  }
}
