import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { after, millisecond, minute, never, second, toInstant, type Instant } from '../../../src/core/base/time.ts'
import { MTU_LADDER, MtuDiscovery, relayedSize, type MtuOptions } from '../../../src/core/flow/mtu-discovery.ts'
import { SeededRandom } from '../../../src/sim/random.ts'

const OVERHEAD = 29
const BASE = 1152

/** What a path of this true MTU (largest datagram on the wire) is to be used with. */
function expected(mtu: number, ceiling = Infinity): number {
  return [BASE, ...MTU_LADDER].filter((size) => size + OVERHEAD <= mtu && size <= ceiling).at(-1)!
}

/**
 * A path with full-size data every 10 ms, 40 ms of round trip and loss detection as RFC 9002 has it: by three later packets that
 * arrive, and by a probe timeout of 200 ms that declares the two oldest lost and sends one small packet.
 */
class ModelPath {
  now: Instant = toInstant(1_000_000)
  mtu: number
  loss = 0
  /** Nothing at all passes. */
  cut = false
  /** Whether data flows; else only probes and what a probe timeout sends. */
  busy = true
  probes: number[] = []
  lostData = 0
  readonly discovery: MtuDiscovery
  readonly #random: SeededRandom
  #order = 0
  #inFlight: { order: number; length: number; sentAt: number; arrives: number }[] = []
  #lastActivity: number

  constructor(mtu: number, options: Partial<MtuOptions> = {}, seed = 1) {
    this.mtu = mtu
    this.#random = new SeededRandom(seed)
    this.discovery = new MtuDiscovery({ base: BASE, ceiling: 65_478, enabled: true, ...options }, this.now)
    this.#lastActivity = this.now
  }

  run(duration: number): void {
    const end = this.now + duration
    while (this.now < end) {
      this.now = after(this.now, 10 * millisecond)
      this.#step()
    }
  }

  #step(): void {
    const probe = this.discovery.nextProbe(this.now)
    if (probe > 0) {
      this.probes.push(probe)
      this.discovery.onProbeSent(this.now, this.#order)
      this.#send(probe + OVERHEAD)
    }
    if (this.busy) this.#send(this.discovery.size + OVERHEAD)
    this.#receive()
    if (this.#inFlight.length > 0 && this.now - this.#lastActivity > 200 * millisecond) {
      for (const packet of this.#inFlight.splice(0, 2)) this.#lose(packet.order, packet.length, packet.sentAt)
      this.#send(60)
      this.#lastActivity = this.now
    }
  }

  #send(length: number): void {
    if (this.#inFlight.length === 0) this.#lastActivity = this.now
    const passes = length <= this.mtu && !this.cut && !this.#random.chance(this.loss)
    this.#inFlight.push({ order: this.#order++, length, sentAt: this.now, arrives: passes ? this.now + 40 * millisecond : Infinity })
  }

  #receive(): void {
    let newest = -1
    for (const packet of this.#inFlight) {
      if (packet.arrives > this.now) continue
      newest = packet.order
      this.#lastActivity = this.now
      this.discovery.onAcked(this.now, packet.order, packet.length)
    }
    this.#inFlight = this.#inFlight.filter((packet) => packet.arrives > this.now)
    for (const packet of this.#inFlight.filter(({ order }) => order <= newest - 3)) this.#lose(packet.order, packet.length, packet.sentAt)
    this.#inFlight = this.#inFlight.filter(({ order }) => order > newest - 3)
  }

  #lose(order: number, length: number, sentAt: number): void {
    if (!this.discovery.isProbe(order)) this.lostData++
    this.discovery.onLost(this.now, order, length, toInstant(sentAt))
  }
}

/** Every size at which something changes, and a sieve of those between. */
const mtus = [...new Set([1200, 1232, 1436, 1437, 1438, 1452, 1472, 4124, 4125, 4126, 8220, 8221, 8222, 16_348, 16_349, 16_350, 16_384,
  ...Array.from({ length: 150 }, (_, i) => 1200 + i * 101)])]

describe('MtuDiscovery (RFC 8899, WIRE.md §6)', () => {
  it('finds the greatest rung that passes for every true MTU of 1200 … 16384, busy or silent', () => {
    for (const busy of [true, false]) {
      for (const mtu of mtus) {
        const path = new ModelPath(mtu)
        path.busy = busy
        path.run(10 * second)
        expect(path.discovery.size, `MTU ${mtu}`).toBe(expected(mtu))
        expect(path.discovery.state).toBe('complete')
        expect(path.lostData, `MTU ${mtu}`).toBe(0)
        // Three tries of the first rung that fails, one of each below it.
        expect(path.probes.length).toBe(MTU_LADDER.filter((size) => size + OVERHEAD <= mtu).length + (mtu < 16_349 ? 3 : 0))
      }
    }
  })

  it('stays within what link and peer allow, and probes nothing above', () => {
    for (const ceiling of [1152, 1400, 1408, 4096, 9000, 16_320]) {
      const path = new ModelPath(65_507, { ceiling })
      path.run(5 * second)
      expect(path.discovery.size).toBe(expected(65_507, ceiling))
      expect(Math.max(0, ...path.probes)).toBeLessThanOrEqual(ceiling)
      expect(path.discovery.timeout()).toBe(never)
    }
    expect(new MtuDiscovery({ base: BASE, ceiling: 200, enabled: true }, toInstant(0)).size).toBe(200)
  })

  it('goes on when the ceiling is raised, and down when it is lowered', () => {
    const path = new ModelPath(65_507, { ceiling: 1408 })
    path.run(2 * second)
    expect(path.discovery.setCeiling(path.now, 8192)).toBe('same')
    path.run(2 * second)
    expect(path.discovery.size).toBe(8192)
    expect(path.discovery.setCeiling(path.now, 5000)).toBe('lowered')
    expect(path.discovery.size).toBe(4096)
    expect(path.discovery.setCeiling(path.now, 600)).toBe('lowered')
    expect(path.discovery.size).toBe(600)
  })

  it('sends nothing while the link may fragment', () => {
    const path = new ModelPath(65_507, { enabled: false })
    path.run(20 * minute)
    expect(path.probes).toEqual([])
    expect(path.discovery.size).toBe(BASE)
    expect(path.discovery.timeout()).toBe(never)
    expect(path.discovery.restart(path.now)).toBe('same')
    expect(path.discovery.nextProbe(path.now)).toBe(0)
  })

  it('finds its rung through lossy probes: 10 % in 99 of 100, never above the truth', () => {
    let found = 0
    for (let seed = 1; seed <= 200; seed++) {
      const path = new ModelPath(1500, {}, seed)
      path.loss = 0.1
      path.run(10 * second)
      expect(path.discovery.size).toBeLessThanOrEqual(1408)
      if (path.discovery.size === 1408) found++
    }
    expect(found).toBeGreaterThanOrEqual(196)
  })

  it('does not take random loss of 10 % for a black hole', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const path = new ModelPath(1500, {}, seed)
      path.run(second)
      path.loss = 0.1
      path.run(2 * minute)
      expect(path.discovery.size).toBe(1408)
      expect(path.lostData).toBeGreaterThan(500)
    }
  })

  it('looks again after 600 s and finds a path that has grown', () => {
    const path = new ModelPath(1500)
    path.run(5 * second)
    path.mtu = 9000
    path.run(595 * second)
    expect(path.discovery.size).toBe(1408)
    path.run(10 * second)
    expect(path.discovery.size).toBe(8192)
  })

  it('leaves a silent black hole for the base within a second, and searches again after 60 s', () => {
    for (const [from, to] of [[16_384, 1500], [9000, 1300], [1500, 1400]] as const) {
      const path = new ModelPath(from)
      path.run(5 * second)
      expect(path.discovery.size).toBe(expected(from))
      path.mtu = to
      path.run(second)
      expect(path.discovery.size).toBe(BASE)
      expect(path.discovery.state).toBe('waiting')
      const probes = path.probes.length
      path.run(58 * second)
      expect(path.probes.length).toBe(probes)
      path.run(10 * second)
      expect(path.discovery.size).toBe(expected(to))
    }
  })

  it('is not deceived by datagrams above the base that pass, where longer ones do not', () => {
    const path = new ModelPath(1500)
    path.run(5 * second)
    const { discovery } = path
    let order = 1_000_000
    for (let round = 0; round < 3; round++) {
      path.now = after(path.now, 100 * millisecond)
      discovery.onLost(path.now, order++, 1437, toInstant(path.now - 50 * millisecond))
      discovery.onAcked(path.now, order++, 1245)
    }
    expect(discovery.size).toBe(BASE)
    // One as long as what was lost shows that large ones pass.
    const other = new ModelPath(1500)
    other.run(5 * second)
    for (let round = 0; round < 10; round++) {
      other.now = after(other.now, 100 * millisecond)
      other.discovery.onLost(other.now, order++, 1300, toInstant(other.now - 50 * millisecond))
      other.discovery.onAcked(other.now, order++, 1300)
    }
    expect(other.discovery.size).toBe(1408)
  })

  it('takes a silence in which three large ones vanished for a black hole, and looks at once', () => {
    const path = new ModelPath(1500)
    path.run(5 * second)
    const { discovery } = path
    expect(discovery.onSilence(path.now, 2)).toBe('same')
    expect(discovery.onSilence(path.now, 3)).toBe('lowered')
    expect(discovery.size).toBe(BASE)
    path.run(100 * millisecond)
    expect(discovery.size, 'it passes').toBe(1408)
    expect(discovery.onSilence(path.now, 3), 'so the next silence is not about it').toBe('same')
    path.run(minute)
    path.mtu = 1300
    expect(discovery.onSilence(path.now, 3)).toBe('lowered')
    path.run(5 * second)
    expect(discovery.state).toBe('waiting')
    path.mtu = 1500
    path.run(minute)
    expect(discovery.size).toBe(1408)
  })

  it('takes no loss of datagrams at the base for a black hole', () => {
    const path = new ModelPath(1200)
    path.run(10 * second)
    path.cut = true
    path.run(10 * second)
    expect(path.discovery.state).toBe('complete')
    expect(path.discovery.size).toBe(BASE)
  })

  it('starts over on another path, at most one probe at a time', () => {
    const path = new ModelPath(9000)
    path.run(3 * second)
    path.mtu = 1500
    expect(path.discovery.restart(path.now)).toBe('lowered')
    expect(path.discovery.size).toBe(BASE)
    path.run(10 * second)
    expect(path.discovery.size).toBe(1408)
    const waiting = new MtuDiscovery({ base: BASE, ceiling: 9000, enabled: true }, toInstant(0))
    expect(waiting.nextProbe(toInstant(0))).toBe(1408)
    waiting.onProbeSent(toInstant(0), 7)
    expect(waiting.nextProbe(toInstant(100))).toBe(0)
    expect(waiting.timeout()).toBe(5 * second)
    // Neither acknowledged nor lost: the timer decides.
    expect(waiting.nextProbe(toInstant(5 * second))).toBe(0)
    expect(waiting.nextProbe(toInstant(5.5 * second))).toBe(1408)
  })

  it('goes down the ladder on EMSGSIZE and asks the driver again after 600 s', () => {
    const path = new ModelPath(65_507)
    path.run(3 * second)
    expect(path.discovery.size).toBe(16_320)
    expect(path.discovery.onTooLarge(path.now, 16_349)).toBe('lowered')
    expect(path.discovery.size).toBe(8192)
    expect(path.discovery.onTooLarge(path.now, 1500)).toBe('lowered')
    expect(path.discovery.size).toBe(1408)
    // Refused at the first attempt to probe.
    const refused = new MtuDiscovery({ base: BASE, ceiling: 20_000, enabled: true }, toInstant(0))
    expect(refused.nextProbe(toInstant(0))).toBe(1408)
    refused.onProbeSent(toInstant(0), 1)
    expect(refused.onTooLarge(toInstant(1), 1437)).toBe('same')
    expect(refused.state).toBe('complete')
    expect(refused.nextProbe(toInstant(2))).toBe(0)
    expect(refused.nextProbe(toInstant(600 * second + 1))).toBe(1408)
  })

  it('believes a probe that is acknowledged after it was declared lost', () => {
    const discovery = new MtuDiscovery({ base: BASE, ceiling: 2000, enabled: true }, toInstant(0))
    expect(discovery.nextProbe(toInstant(0))).toBe(1408)
    discovery.onProbeSent(toInstant(0), 1)
    expect(discovery.onLost(toInstant(10), 1, 1437, toInstant(0))).toBe('same')
    expect(discovery.nextProbe(toInstant(20))).toBe(0)
    expect(discovery.onAcked(toInstant(30), 1, 1437)).toBe('raised')
    expect(discovery.size).toBe(1408)
    expect(discovery.onAcked(toInstant(40), 1, 1437)).toBe('same')
  })

  it('fits what a relay or TURN leaves (WIRE.md §6)', () => {
    expect(relayedSize(1152)).toBe(1088)
    expect(relayedSize(1408)).toBe(1344)
    const path = new ModelPath(1437 - 5 - OVERHEAD, { base: relayedSize(1152), ladder: MTU_LADDER.map(relayedSize) })
    expect(path.discovery.size).toBe(1088)
    path.run(10 * second)
    expect(path.discovery.size).toBe(1344)
  })

  it('never uses what was not acknowledged, whatever happens in whatever order', () => {
    const event = fc.record({
      kind: fc.constantFrom('probe', 'ack', 'lose', 'ackProbe', 'loseProbe', 'tooLarge', 'ceiling', 'restart', 'wait', 'wait'),
      n: fc.integer({ min: 0, max: 20_000 }),
    })
    fc.assert(fc.property(fc.array(event, { maxLength: 300 }), (events) => {
      const discovery = new MtuDiscovery({ base: BASE, ceiling: 16_320, enabled: true }, toInstant(0))
      let now = toInstant(0)
      let order = 0
      let probe = -1
      let probeSize = 0
      const proven = new Set<number>([BASE])
      let ceiling = 16_320
      for (const { kind, n } of events) {
        switch (kind) {
          case 'probe': {
            const size = discovery.nextProbe(now)
            if (size === 0) break
            expect(size).toBeGreaterThan(discovery.size)
            expect(size).toBeLessThanOrEqual(ceiling)
            probe = order
            probeSize = size
            discovery.onProbeSent(now, order++)
            break
          }
          case 'ack': discovery.onAcked(now, order++, discovery.size + OVERHEAD); break
          case 'lose': discovery.onLost(now, order++, discovery.size + OVERHEAD, toInstant(Math.max(0, now - n))); break
          case 'ackProbe':
            if (probe >= 0) {
              proven.add(probeSize)
              discovery.onAcked(now, probe, probeSize + OVERHEAD)
            }
            break
          case 'loseProbe': if (probe >= 0) discovery.onLost(now, probe, probeSize + OVERHEAD, now); break
          case 'tooLarge': discovery.onTooLarge(now, 1200 + n); break
          case 'ceiling': ceiling = 1152 + n; discovery.setCeiling(now, ceiling); break
          case 'restart': discovery.restart(now); break
          default: now = after(now, n * 10 * millisecond)
        }
        expect(proven.has(discovery.size)).toBe(true)
        expect(discovery.size).toBeLessThanOrEqual(Math.max(ceiling, BASE))
      }
    }), { numRuns: 500 })
  })
})
