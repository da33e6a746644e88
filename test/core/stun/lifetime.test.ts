import { describe, expect, it } from 'vitest'
import { encodeAddress, formatAddress, portOf } from '../../../src/core/base/address.ts'
import type { LinkId } from '../../../src/core/base/domain.ts'
import { second, toInstant, toWallTime, type Now } from '../../../src/core/base/time.ts'
import { LIFETIME_MAX, MappingLifetime, nextWait, type LifetimeBounds, type LifetimeOutcome } from '../../../src/core/stun/lifetime.ts'
import { decodeResponsePort, encodeErrorCode, encodeXorAddress } from '../../../src/core/wire/stun-attributes.ts'
import { decodeStun, encodeStun, findAttribute, stunAttribute } from '../../../src/core/wire/stun.ts'
import { node } from '../../support/providers.ts'
import { withPort } from '../../../src/sim/nat.ts'

const SUBJECT = 1 as LinkId
const ASKER = 2 as LinkId
const outside = encodeAddress('203.0.113.1', 0)!
const server = encodeAddress('192.0.2.1', 3478)!
const other = encodeAddress('192.0.2.9', 3478)!

interface Scene {
  /** Seconds that the NAT keeps a mapping; longer once something went both ways twice, if that is given. */
  readonly lifetime: number
  readonly stream?: number
  /** Of {@link server}; the other one does not answer at all. */
  readonly does?: 'response-port' | 'ignores' | 'refuses' | 'nothing'
  /** Seconds after which the server is gone. */
  readonly until?: number
  /** Every so many-th datagram from the server is lost. */
  readonly lossEvery?: number
  readonly first?: Uint8Array
}

interface Measured extends LifetimeBounds {
  readonly outcome: LifetimeOutcome
  readonly seconds: number
  readonly datagrams: number
}

/** The measurement behind a NAT that forgets, in virtual time. Round trips take 20 ms. */
function measure({ lifetime, stream = lifetime, does = 'response-port', until = Infinity, lossEvery = 0, first = server }: Scene): Measured {
  let [mono, datagrams, answers, ports] = [0, 0, 0, 50_000]
  const now = (): Now => ({ mono: toInstant(mono), wall: toWallTime(0) })
  const mappings = new Map<number, { link: LinkId; usedAt: number; uses: number }>()
  const arriving: { at: number; link: LinkId; bytes: Uint8Array }[] = []
  const isLive = ({ usedAt, uses }: { usedAt: number; uses: number }): boolean => mono - usedAt < (uses > 1 ? stream : lifetime) * second
  const portFor = (link: LinkId): number => {
    const known = [...mappings].find(([, mapping]) => mapping.link === link && isLive(mapping))
    const [port, mapping] = known ?? [ports++, { link, usedAt: mono, uses: 0 }]
    mapping.usedAt = mono
    mapping.uses++
    mappings.set(port, mapping)
    return port
  }
  const send = (link: LinkId, to: Uint8Array, bytes: Uint8Array): void => {
    datagrams++
    const seen = withPort(outside, portFor(link))
    const request = decodeStun(bytes)
    if (formatAddress(to) !== formatAddress(server) || does === 'nothing' || mono > until * second || request.kind !== 'stun') return
    const { transactionId } = request
    const asked = findAttribute(request, stunAttribute.responsePort)
    const refused = asked !== undefined && does === 'refuses'
    const answer = refused ? encodeStun(node, { class: 'error', transactionId, attributes: [[stunAttribute.errorCode, encodeErrorCode({ code: 420, reason: 'no' })]], fingerprint: true })
      : encodeStun(node, { class: 'success', transactionId, attributes: [[stunAttribute.xorMappedAddress, encodeXorAddress(seen, transactionId)]], fingerprint: true })
    const port = asked === undefined || does !== 'response-port' ? portOf(seen) : decodeResponsePort(asked)!
    const mapping = mappings.get(port)
    if (mapping === undefined || !isLive(mapping) || (lossEvery > 0 && ++answers % lossEvery === 0)) return
    // What comes in keeps nothing open.
    arriving.push({ at: mono + 20_000, link: mapping.link, bytes: answer })
  }
  const running = new MappingLifetime({
    provider: node, unit: () => 0.5, count: () => undefined, links: [SUBJECT, ASKER], send,
    servers: [...(first === server ? [] : [{ name: 'other', address: other }]), { name: 'server', address: server }],
  })
  running.start(now())
  for (let steps = 0; !running.done; steps++) {
    expect(steps).toBeLessThan(1000)
    arriving.sort((a, b) => a.at - b.at)
    mono = Math.min(running.nextTimeout(), arriving[0]?.at ?? Infinity)
    if (arriving[0]?.at === mono) {
      const { link, bytes } = arriving.shift()!
      running.handleDatagram(now(), link, server, bytes)
    }
    running.handleTimeout(now())
  }
  return { ...running.result, seconds: mono / second, datagrams }
}

describe('how long a NAT keeps a mapping', () => {
  it.each([5, 8, 12, 15, 20, 25, 29, 31, 45, 58, 61, 80, 100, 119])('finds %i s', (lifetime) => {
    const { outcome, alive, dead } = measure({ lifetime })
    expect(outcome).toBe('measured')
    expect(alive / second).toBeLessThanOrEqual(lifetime)
    expect(dead! / second).toBeGreaterThanOrEqual(lifetime)
    expect((dead! - alive) / second).toBeLessThanOrEqual(Math.max(2, lifetime / 3))
  })

  it('ends at two minutes, and asks little', () => {
    const { outcome, alive, dead, seconds, datagrams } = measure({ lifetime: 600 })
    expect([outcome, alive, dead]).toEqual(['measured', LIFETIME_MAX, undefined])
    expect(seconds).toBeLessThan(235)
    expect(datagrams).toBeLessThan(15)
  })

  it('takes no longer than seven minutes, whatever the NAT', () => {
    const longest = Math.max(...Array.from({ length: 125 }, (_, i) => measure({ lifetime: i + 1 }).seconds))
    expect(longest).toBeLessThan(7 * 60)
  })

  it('measures what a session would see: a mapping that was used both ways for a while', () => {
    const { alive, dead } = measure({ lifetime: 30, stream: 100 })
    expect([alive / second <= 100, dead! / second >= 100]).toEqual([true, true])
  })

  it('is not misled by lost datagrams', () => {
    for (const lossEvery of [2, 3]) expect(measure({ lifetime: 600, lossEvery })).toMatchObject({ outcome: 'measured', alive: LIFETIME_MAX, dead: undefined })
  })

  it.each([['ignores', 'unsupported'], ['refuses', 'unsupported'], ['nothing', 'silent']] as const)('of a server that %s what it is asked says so, and invents nothing', (does, outcome) => {
    expect(measure({ lifetime: 60, does })).toMatchObject({ outcome, alive: 0, dead: undefined })
  })

  it('asks another server where the first one is silent', () => {
    expect(measure({ lifetime: 600, first: other })).toMatchObject({ outcome: 'measured', alive: LIFETIME_MAX })
  })

  it('ends with what is known when the server goes', () => {
    const { outcome, alive, dead } = measure({ lifetime: 600, until: 50 })
    expect([outcome, alive / second]).toEqual(['silent', 30])
    // Its silence to the probe was taken for the NAT's, and is taken back.
    expect(dead).toBe(undefined)
  })
})

describe('the next wait', () => {
  it('gets nearer each time, and ends', () => {
    for (let lifetime = 1; lifetime < 200; lifetime++) {
      let bounds: LifetimeBounds = { alive: 0, dead: undefined }
      let tries = 0
      for (let wait = nextWait(bounds); wait !== undefined; wait = nextWait(bounds)) {
        expect(wait).toBeGreaterThan(bounds.alive)
        if (bounds.dead !== undefined) expect(wait).toBeLessThan(bounds.dead)
        bounds = wait <= lifetime * second ? { ...bounds, alive: wait } : { ...bounds, dead: wait }
        expect(++tries).toBeLessThan(9)
      }
    }
  })
})
