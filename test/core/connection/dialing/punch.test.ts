/** PUNCH: two whose session runs over a connection agree on a moment, and on who guesses ports (WIRE.md §5). */
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../../src/core/base/address.ts'
import { ownCandidate } from '../../../../src/core/path/candidates.ts'
import { SeededRandom } from '../../../../src/sim/random.ts'
import { SimProvider } from '../../../../src/sim/sim-provider.ts'
import { repeated } from '../../../support/bytes.ts'
import { punch } from '../../../support/hand-frames.ts'
import { HandPeer } from '../../../support/hand-peer.ts'
import { Homes, outside, type HomeKind } from '../../../support/homes.ts'
import { address, LoneEndpoint, peerRecord } from '../../../support/lone-endpoint.ts'

/** They have a session over TCP, by addresses that UDP does not reach, and have told where servers see them. */
function overTcp(seed: number, kinds: readonly [HomeKind, HomeKind]): Homes {
  const homes = new Homes(seed, kinds, true)
  const [a, b] = homes.players
  a.know(b)
  b.know(a)
  a.connect(b)
  expect(homes.world.until(() => homes.met, 10)).toBeLessThan(10)
  for (const { node } of [a, b]) {
    const seen = node.endpoint.stun.addresses.map(({ address: found }) => ownCandidate('reflexive', found))
    node.act((endpoint, now) => { endpoint.setLocalCandidates(now, seen) })
  }
  return homes
}

const pathsOf = ({ players: [a, b] }: Homes): string[] => [[a, b], [b, a]].map(([one, other]) => one!.node.endpoint.peerStats(one!.handleOf(other!))!.paths.find(({ active }) => active)?.kind ?? 'none')
const onUdp = (homes: Homes): boolean => pathsOf(homes).every((kind) => kind === 'udp')
const sum = ({ players }: Homes, counter: string): number => players.reduce((all, player) => all + player.counter(counter), 0)

describe('PUNCH in a session over TCP', () => {
  it.each([[['sym', 'port']], [['port', 'sym']]] as const)('%s: ports are guessed, and the traffic moves to UDP', (kinds) => {
    const times: number[] = []
    for (let seed = 1; seed <= 6; seed++) {
      const homes = overTcp(seed, kinds)
      times.push(homes.world.until(() => onUdp(homes), 120))
      expect([sum(homes, 'punches_begun') >= 2, sum(homes, 'birthdays_met') >= 1]).toEqual([true, true])
      // Each knows what the other one is.
      const [hardOne, easyOne] = homes.hard(0) ? [homes.players[0], homes.players[1]] : [homes.players[1], homes.players[0]]
      expect([[hardOne, easyOne], [easyOne, hardOne]].map(([self, other]) => self!.node.endpoint.peerWhy(self!.node.now(), self!.handleOf(other!))!.whereabouts?.hard)).toEqual([false, true])
      // A few sockets may have been heard on; a while later one is left, and nobody asks any more.
      homes.world.run(3)
      expect(homes.players[homes.hard(0) ? 0 : 1].node.spareSockets).toBeLessThanOrEqual(4)
      const before = homes.seen.filter(({ type }) => type === 0x65).length
      homes.world.run(100)
      expect([homes.seen.filter(({ type }) => type === 0x65).length, pathsOf(homes)]).toEqual([before, ['udp', 'udp']])
      expect(homes.players[homes.hard(0) ? 0 : 1].node.spareSockets).toBe(1)
      const [a, b] = homes.players
      a.send(a.open(b), 'hello')
      expect(homes.world.until(() => b.received.includes('hello'), 2)).toBeLessThan(0.5)
    }
    expect([...times].sort((x, y) => x - y)[3]).toBeLessThan(15)
  })

  it('nobody guesses on when the session is over', () => {
    for (const kinds of [['sym', 'port'], ['port', 'sym']] as const) {
      const homes = overTcp(5, kinds)
      const [a, b] = homes.players
      expect(homes.world.until(() => homes.view(0)?.outcome === 'running' && homes.view(1)?.outcome === 'running', 40)).toBeLessThan(40)
      a.node.act((endpoint, now) => { endpoint.disconnect(now, a.handleOf(b)) })
      homes.world.run(0.5)
      const knocks = homes.knocks(0).length + homes.knocks(1).length
      homes.world.run(60)
      expect([homes.knocks(0).length + homes.knocks(1).length, homes.view(0)!.outcome, homes.view(1)!.outcome]).toEqual([knocks, 'called_off', 'called_off'])
      expect([a, b].map(({ node }) => node.spareSockets)).toEqual([0, 0])
    }
  })

  it('both easy: at the moment that was agreed on both doors are open', () => {
    const homes = overTcp(1, ['port', 'port'])
    expect(homes.world.until(() => onUdp(homes), 20)).toBeLessThan(10)
    expect(homes.seen.filter(({ type }) => type === 0x65)).toEqual([])
  })

  it('both hard: three rounds in vain, half a minute apart, then quiet until something changes', () => {
    const homes = overTcp(1, ['sym', 'sym'])
    homes.world.run(180)
    expect([pathsOf(homes), sum(homes, 'punches_begun'), sum(homes, 'birthdays_begun')]).toEqual([['tcp', 'tcp'], 6, 0])
    const said = sum(homes, 'punches_sent')
    homes.world.run(600)
    expect(sum(homes, 'punches_sent')).toBe(said)
    homes.players[0].node.act((endpoint, now) => { endpoint.handleNetworkChange(now) })
    homes.world.run(60)
    expect(sum(homes, 'punches_sent')).toBeGreaterThan(said)
    expect(sum(homes, 'punches_ignored')).toBe(0)
  })

  it('is not spoken of while UDP carries the traffic, nor to who does not take it', () => {
    const homes = new Homes(1, ['full', 'full'], true)
    homes.meet(0, { patience: 0, byHand: false })
    homes.meet(1, { patience: 0, byHand: false })
    expect(homes.world.until(() => homes.met, 5)).toBeLessThan(5)
    for (const { node } of homes.players) node.act((endpoint, now) => { endpoint.setLocalCandidates(now, [ownCandidate('reflexive', encodeAddress(outside[0], 7000)!)]) })
    homes.world.run(120)
    expect([pathsOf(homes), sum(homes, 'punches_sent')]).toEqual([['udp', 'udp'], 0])
  })
})

describe('PUNCH of a hostile peer', () => {
  const PEER = address('192.0.2.7')
  const [ASK, READY, GO, ABORT, RESULT] = [0, 1, 2, 3, 4] as const

  function scene(seed: number): { readonly lone: LoneEndpoint; readonly send: (...frames: readonly (readonly number[])[]) => void; readonly counter: (name: string) => number; readonly answered: () => number } {
    const peer = new HandPeer(new SimProvider(new SeededRandom(2)), seed)
    const lone = new LoneEndpoint({ provider: new SimProvider(new SeededRandom(1)), seed: repeated(1), peers: [peerRecord(peer.id)] })
    const dial = peer.dial(lone.endpoint.id)
    const [answer] = lone.receive({ from: PEER, bytes: dial.datagram() })
    const session = dial.finish(answer!.bytes)
    let answered = 0
    const send = (...frames: readonly (readonly number[])[]): void => {
      const sent = lone.receive({ from: PEER, bytes: session.seal(frames.flat()) })
      answered += sent.flatMap(({ bytes }) => session.open(bytes)?.frames ?? []).filter(({ type }) => type === 0x0e).length
    }
    send([1])
    return { lone, send, counter: (name) => lone.counters[name]!, answered: () => answered }
  }

  // Of two of them one is the lower id and leads, the other is led.
  it.each([9, 10, 11, 12])('floods, foreign rounds, unknown words and late moments are counted and begin nothing (%i)', (seed) => {
    const { lone, send, counter, answered } = scene(seed)
    send(punch(READY, 1), punch(GO, 1), punch(ABORT, 1), punch(RESULT, 1), punch(77, 1), punch(GO, 0, { delay: 2 ** 40 }))
    expect([counter('punches_received'), counter('punches_ignored'), counter('punches_begun'), answered()]).toEqual([6, 6, 0, 0])
    for (let i = 0; i < 500; i++) send(punch(ASK, i + 1, { packets: 2 ** 40, sockets: 2 ** 40, mode: 255, nat: 255 }))
    expect([counter('punches_received'), counter('punches_begun'), counter('birthdays_begun'), counter('knocks_sent')]).toEqual([506, 0, 0, 0])
    expect(counter('punches_ignored')).toBe(506)
    // No round while UDP carries the traffic: a few refusals at most.
    expect(answered()).toBeLessThanOrEqual(16)
    expect(lone.endpoint.peerStats(lone.endpoint.peers()[0]!)!.state).toBe('connected')
    // Said once in ten seconds, for a line in the log.
    const said = (): number => lone.events.filter(({ kind }) => kind === 'punch-flood').length
    expect(said()).toBe(1)
    lone.advance(11_000_000)
    for (let i = 0; i < 100; i++) send(punch(ASK, i + 1))
    expect(said()).toBe(2)
  })
})
