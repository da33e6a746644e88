/** Birthday probing before there is a session (decision 098), between simulated routers, in virtual time. */
import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress } from '../../../src/core/base/address.ts'
import { encodeKnockHead } from '../../../src/core/wire/datagram.ts'
import { concat } from '../../../src/core/base/bytes.ts'
import { perfectWire } from '../../../src/sim/network.ts'
import { repeated } from '../../support/bytes.ts'
import { byHand, Homes, introduced, outside } from '../../support/homes.ts'
import { SECOND } from '../../support/sim-world.ts'

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[values.length >> 1]!
}

describe('two behind routers of which one takes another port for each destination', () => {
  it('know which of them is hard to find', () => {
    const homes = new Homes(1, ['sym', 'port'])
    expect([homes.hard(0), homes.hard(1)]).toEqual([true, false])
  })

  it.each([[['sym', 'port']], [['port', 'sym']]] as const)('%s: meet when both are told at once, half of them within ten seconds', (kinds) => {
    const times: number[] = []
    for (let seed = 1; seed <= 15; seed++) {
      const homes = new Homes(seed, kinds)
      homes.meet(0, introduced)
      homes.meet(1, introduced)
      times.push(homes.world.until(() => homes.met, 37))
      if (times.at(-1) === Infinity) continue
      const hard = homes.hard(0) ? 0 : 1
      expect([homes.view(hard)!.role, homes.view(hard)!.outcome, homes.view((1 - hard) as 0 | 1)!.outcome]).toEqual(['hard', 'met', 'met'])
      // The way that was found goes on, by one socket; what goes both ways goes over it.
      homes.world.run(1)
      const [a, b] = homes.players
      expect(homes.players[hard].node.spareSockets).toBeLessThanOrEqual(4)
      a.send(a.open(b), 'hello')
      b.send(b.open(a), 'hello')
      expect(homes.world.until(() => a.received.length > 0 && b.received.length > 0, 5)).toBeLessThan(1)
      // Not a guess more, and no socket is left when the session is gone.
      const guesses = homes.seen.filter(({ type }) => type === 0x65).length
      homes.world.run(60)
      expect(homes.seen.filter(({ type }) => type === 0x65)).toHaveLength(guesses)
      a.node.act((endpoint, now) => { endpoint.disconnect(now, a.handleOf(b)) })
      homes.world.run(61)
      expect(homes.players[hard].node.spareSockets).toBe(0)
    }
    expect(times.filter((time) => time < Infinity).length).toBeGreaterThanOrEqual(14)
    expect(median(times)).toBeLessThan(10)
    // New ports against all guesses so far: few are left after the second draw.
    expect(times.filter((time) => time < 13).length).toBeGreaterThanOrEqual(14)
  })

  it.each([[['sym', 'port']], [['port', 'sym']]] as const)('%s: meet though the second one begins minutes later and nobody says so', (kinds) => {
    const times: number[] = []
    for (let seed = 1; seed <= 5; seed++) {
      const homes = new Homes(seed, kinds)
      homes.meet(0, byHand)
      homes.world.run(200)
      homes.meet(1, byHand)
      times.push(homes.world.until(() => homes.met, 120))
    }
    expect(Math.max(...times)).toBeLessThan(120)
    expect(median(times)).toBeLessThan(10)
  })

  it('and a filter that looks at no ports need no guess', () => {
    for (const easy of ['full', 'addr'] as const) {
      const homes = new Homes(1, ['sym', easy])
      homes.meet(0, introduced)
      homes.meet(1, introduced)
      expect(homes.world.until(() => homes.met, 5)).toBeLessThan(0.7)
      homes.world.run(5)
      expect([homes.view(0), homes.knocks(0), homes.knocks(1)]).toEqual([undefined, [], []])
    }
  })

  it('do not guess where it is of no use: both hard, or both easy', () => {
    const both = new Homes(1, ['sym', 'sym'])
    both.meet(0, byHand)
    both.meet(1, byHand)
    both.world.run(60)
    expect([both.met, both.view(0), both.view(1), both.knocks(0).length, both.players[0].node.spareSockets]).toEqual([false, undefined, undefined, 0, 0])
    const easy = new Homes(2, ['port', 'port'])
    easy.meet(0, byHand)
    easy.world.run(60)
    expect(easy.knocks(0)).toEqual([])
  })
})

describe('a round of guessing towards somebody who is not there', () => {
  it('is over after 35 s when both should have begun, and every socket is closed', () => {
    for (const [kinds, most] of [[['sym', 'port'], 5 * 256], [['port', 'sym'], 1750]] as const) {
      const homes = new Homes(3, kinds)
      homes.meet(0, introduced)
      homes.world.run(5)
      const begun = homes.seen[0]!.at
      homes.world.run(60)
      const knocks = homes.knocks(0)
      expect([homes.view(0)!.outcome, homes.players[0].node.spareSockets]).toEqual(['in_vain', 0])
      expect(knocks.length).toBeGreaterThan(0.9 * most)
      expect(knocks.length).toBeLessThanOrEqual(most)
      expect(knocks.at(-1)!.at - begun).toBeLessThan(37 * SECOND)
      expect(new Set(knocks.map(({ size }) => size))).toEqual(new Set([28]))
      // Again within the hour: only what is left of its budget.
      homes.meet(0, introduced)
      homes.world.run(120)
      expect(homes.knocks(0).length).toBeLessThanOrEqual(1750)
      expect(homes.players[0].counter('knocks_withheld') + homes.players[0].counter('birthdays_refused')).toBeGreaterThan(0)
      expect(homes.players[0].node.spareSockets).toBe(0)
    }
  })

  it('goes on slowly while a person may carry the reply, and not for longer', () => {
    for (const kinds of [['sym', 'port'], ['port', 'sym']] as const) {
      const homes = new Homes(4, kinds)
      homes.meet(0, byHand)
      homes.world.run(60)
      const fast = homes.knocks(0).length
      homes.world.run(600)
      expect((homes.knocks(0).length - fast) / 600).toBeLessThan(11)
      expect((homes.knocks(0).length - fast) / 600).toBeGreaterThan(8)
      homes.world.run(300)
      const all = homes.knocks(0).length
      homes.world.run(300)
      expect([homes.knocks(0).length, homes.view(0)!.outcome, homes.players[0].node.spareSockets]).toEqual([all, 'in_vain', 0])
    }
  })

  it('goes to one host only, to no privileged port, and not at all to what is not on the public net', () => {
    const homes = new Homes(5, ['port', 'sym'])
    homes.meet(0, introduced)
    homes.world.run(40)
    const targets = homes.knocks(0).map(({ to }) => to)
    expect(new Set(targets.map((to) => to.split(':')[0]))).toEqual(new Set([outside[1]]))
    expect(Math.min(...targets.map((to) => Number(to.split(':')[1])))).toBeGreaterThanOrEqual(1024)
    const [self, other] = homes.players
    for (const victim of ['10.9.9.9', '224.0.0.1', '127.0.0.1', '100.64.0.1', '169.254.0.1', '255.255.255.255', '0.0.0.0']) {
      const addresses = [encodeAddress(victim, 7000)!]
      self.node.act((endpoint, now) => {
        endpoint.noteWhereabouts(self.handleOf(other), { hard: true, addresses })
        endpoint.meet(now, self.handleOf(other), introduced)
      })
      const before = homes.knocks(0).length
      homes.world.run(5)
      expect(homes.knocks(0).length, victim).toBe(before)
    }
    // A hard one is sent to a mail server by nobody.
    const hard = new Homes(6, ['sym', 'port'])
    const [inner, peer] = hard.players
    hard.meet(0, introduced)
    inner.node.act((endpoint) => { endpoint.noteWhereabouts(inner.handleOf(peer), { hard: false, addresses: [encodeAddress('203.0.113.77', 25)!] }) })
    hard.world.run(5)
    expect([hard.knocks(0), inner.node.spareSockets, inner.counter('birthdays_refused')]).toEqual([[], 0, 1])
  })

  it('goes, for as long as a person is waited for, only where that person said that the peer is: whoever introduces is believed for its own round', () => {
    const homes = new Homes(11, ['port', 'sym'])
    const [self, other] = homes.players
    const lie = { hard: true, addresses: [encodeAddress('203.0.113.77', 7000)!] }
    const introduce = (): void => self.node.act((endpoint, now) => {
      endpoint.noteWhereabouts(self.handleOf(other), lie)
      endpoint.meet(now, self.handleOf(other), introduced)
    })
    // Joined, then introduced, then the reply is made.
    homes.tell(0, byHand)
    introduce()
    self.node.act((endpoint, now) => { endpoint.meet(now, self.handleOf(other), byHand) })
    homes.world.run(0.1)
    introduce()
    homes.world.run(60)
    const before = homes.knocks(0).length
    introduce()
    homes.world.run(60)
    const hosts = homes.knocks(0).map(({ to }) => to.split(':')[0])
    expect(new Set(hosts)).toEqual(new Set([outside[1]]))
    // The person's meeting goes on, though others speak meanwhile.
    expect(hosts.length - before).toBeGreaterThan(500)
  })

  it('is not begun where nothing may be sent to that host any more: it would open sockets, and keep others waiting, for nothing', () => {
    const homes = new Homes(13, ['sym', 'port'])
    const [self] = homes.players
    for (let round = 0; round < 3; round++) {
      homes.meet(0, introduced)
      homes.world.run(40)
    }
    expect(homes.knocks(0)).toHaveLength(1750)
    const [begun, refused] = [self.counter('birthdays_begun'), self.counter('birthdays_refused')]
    homes.meet(0, introduced)
    homes.world.run(2)
    expect([self.counter('birthdays_begun'), self.counter('birthdays_refused'), self.node.spareSockets]).toEqual([begun, refused + 1, 0])
    homes.world.run(3600)
    homes.meet(0, introduced)
    homes.world.run(2)
    expect([self.counter('birthdays_begun'), self.node.spareSockets]).toEqual([begun + 1, 256])
  })

  it('goes on by hand though an introduction had begun it', () => {
    const homes = new Homes(12, ['port', 'sym'])
    homes.meet(0, introduced)
    homes.world.run(5)
    homes.meet(0, byHand)
    homes.world.run(90)
    const before = homes.knocks(0).length
    homes.world.run(60)
    expect(homes.knocks(0).length - before).toBeGreaterThan(500)
  })

  it('by hand goes where the newer link says that the peer is, when there is one', () => {
    const homes = new Homes(12, ['port', 'sym'])
    homes.meet(0, byHand)
    homes.world.run(5)
    const [self, other] = homes.players
    const elsewhere = encodeAddress('198.51.99.7', 40_000)!
    const before = homes.knocks(0).length
    self.node.act((endpoint, now) => {
      const peer = self.handleOf(other)
      endpoint.noteWhereabouts(peer, { hard: true, addresses: [elsewhere] }, true)
      endpoint.meet(now, peer, byHand)
    })
    homes.world.run(5)
    const later = homes.knocks(0).slice(before).map(({ to }) => to.split(':')[0])
    expect(later.length).toBeGreaterThan(50)
    expect(new Set(later)).toEqual(new Set(['198.51.99.7']))
  })

  it('that a person waits for is not pushed out by any number of introductions', () => {
    const homes = new Homes(12, ['port', 'sym'])
    const [self] = homes.players
    homes.meet(0, byHand)
    self.node.act((endpoint, now) => {
      for (let i = 0; i < 100; i++) endpoint.meet(now, endpoint.addPeer(now, repeated(100 + i, 32), { name: undefined, addresses: [], invite: undefined })!, introduced)
    })
    homes.world.run(5)
    expect(homes.view(0)?.outcome).toBe('running')
  })

  it('is begun by nobody where guessing is turned off', () => {
    for (const kinds of [['port', 'sym'], ['sym', 'port']] as const) {
      const homes = new Homes(12, kinds, false, { guessPorts: false })
      homes.meet(0, byHand)
      homes.world.run(30)
      expect([homes.knocks(0).length, homes.players[0].node.spareSockets, homes.view(0)]).toEqual([0, 0, undefined])
    }
  })

  it('ends with the peer, and with the node', () => {
    const forget = (homes: Homes): void => homes.players[0].node.act((endpoint, now) => { endpoint.removePeer(now, homes.players[1].id) })
    const stop = (homes: Homes): void => homes.players[0].node.act((endpoint, now) => { endpoint.shutdown(now, now.mono) })
    for (const end of [forget, stop]) {
      const homes = new Homes(7, ['sym', 'port'])
      homes.meet(0, byHand)
      homes.world.run(3)
      expect(homes.players[0].node.spareSockets).toBe(256)
      end(homes)
      homes.world.run(1)
      const before = homes.knocks(0).length
      homes.world.run(60)
      expect([homes.players[0].node.spareSockets, homes.knocks(0).length]).toEqual([0, before])
    }
  })
})

describe('knocks of others', () => {
  const forged = concat(encodeKnockHead('hard', new Uint8Array(8)), new Uint8Array(16))

  it('are dropped without an answer: with no round, with a wrong mac, from elsewhere, of the own side, of another size', () => {
    const homes = new Homes(8, ['port', 'sym'])
    const [self, other] = homes.players
    const there = encodeAddress(outside[1], 5000)!
    const hear = (from: Uint8Array, bytes: Uint8Array): number => {
      const before = self.counter('drop_knock') + self.counter('drop_bad_size') + self.counter('drop_version')
      homes.world.network.wire(from, self.address).conditions = { ...perfectWire, delay: 0 }
      homes.world.network.inject(from, self.address, bytes)
      homes.world.run(0.001)
      return self.counter('drop_knock') + self.counter('drop_bad_size') + self.counter('drop_version') - before
    }
    expect(hear(there, forged)).toBe(1)
    homes.meet(0, introduced)
    homes.meet(1, introduced)
    homes.world.run(1.5)
    const sent = homes.knocks(0).length
    expect(sent).toBeGreaterThan(0)
    expect([hear(there, forged), hear(encodeAddress('192.0.2.66', 5000)!, forged), hear(there, forged.subarray(0, 27)), hear(there, concat(forged, new Uint8Array(1)))]).toEqual([1, 1, 1, 1])
    // Its own, thrown back at it.
    let own: Uint8Array | undefined
    const { network } = homes.world
    const inject = network.inject.bind(network)
    network.inject = (from, to, datagram) => {
      if (datagram[0] === 0x65 && formatAddress(from).startsWith(outside[0])) own ??= datagram.slice()
      inject(from, to, datagram)
    }
    homes.world.run(0.1)
    expect([own === undefined, hear(there, own!)]).toEqual([false, 1])
    expect([self.counter('knocks_received'), other.counter('drop_knock')]).toEqual([0, 0])
  })

  it('cost 500 macs a second at most, however many come from where the peer is', () => {
    const homes = new Homes(10, ['port', 'sym'])
    const [self] = homes.players
    homes.meet(0, introduced)
    homes.meet(1, introduced)
    homes.world.run(1)
    const there = encodeAddress(outside[1], 5000)!
    homes.world.network.wire(there, self.address).conditions = { ...perfectWire, delay: 0 }
    let macs = 0
    const hmac = self.provider.hmac.bind(self.provider)
    self.provider.hmac = (key, ...parts) => {
      if (parts[0]?.[0] === 0x65) macs++
      return hmac(key, ...parts)
    }
    for (let i = 0; i < 5000; i++) homes.world.network.inject(there, self.address, forged)
    homes.world.run(0.01)
    expect(self.counter('drop_knock')).toBeGreaterThanOrEqual(5000)
    expect(macs).toBeLessThanOrEqual(501)
    expect(macs).toBeGreaterThan(400)
  })

  it('that are genuine and come from any port of the host are answered once each, no longer than they are, and dial nobody', () => {
    const homes = new Homes(9, ['port', 'sym'])
    let genuine: Uint8Array | undefined
    const { network } = homes.world
    const inject = network.inject.bind(network)
    const [self] = homes.players
    const answers: string[] = []
    let watching = ''
    network.inject = (from, to, datagram) => {
      if (datagram[0] === 0x65 && formatAddress(from).startsWith(outside[1])) genuine ??= datagram.slice()
      if (formatAddress(to) === watching && formatAddress(from).startsWith(outside[0])) answers.push(`${datagram[0]} ${datagram.length}`)
      inject(from, to, datagram)
    }
    homes.meet(0, introduced)
    homes.meet(1, introduced)
    homes.world.run(1)
    if (homes.met || genuine === undefined) throw new Error('this seed does not show it')
    const spoofed = encodeAddress(outside[1], 999)!
    watching = formatAddress(spoofed)
    network.wire(spoofed, self.address).conditions = { ...perfectWire, delay: 0 }
    for (let i = 0; i < 50; i++) {
      inject(spoofed, self.address, genuine)
      homes.world.run(0.01)
    }
    expect(answers).toEqual(['101 28'])
  })
})
