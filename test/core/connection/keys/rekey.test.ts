/** The rekey inside a session (WIRE.md §3.11): both sides of it by hand, ties, floods, what is malformed, and what sets it off. */
import { describe, expect, it } from 'vitest'
import { encodeAddress } from '../../../../src/core/base/address.ts'
import { equalBytes, readU32 } from '../../../../src/core/base/bytes.ts'
import type { Connection } from '../../../../src/core/connection/connection.ts'
import type { Keys } from '../../../../src/core/connection/keys/keys.ts'
import { perfectWire } from '../../../../src/sim/network.ts'
import { SeededRandom } from '../../../../src/sim/random.ts'
import { SimProvider } from '../../../../src/sim/sim-provider.ts'
import { repeated } from '../../../support/bytes.ts'
import { ack, handshake, open, ping, type HandFrame } from '../../../support/hand-frames.ts'
import { HandPeer, type HandInitiation, type HandSession, type InitiationOptions } from '../../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, type Sent } from '../../../support/lone-endpoint.ts'
import { SECOND, SimWorld, WatchedProvider, type Player } from '../../../support/sim-world.ts'

const PEER = address('192.0.2.7')

class CountingProvider extends WatchedProvider {
  exchanges = 0

  override x25519(...keys: Parameters<SimProvider['x25519']>): Uint8Array | undefined {
    this.exchanges++
    return super.x25519(...keys)
  }
}

/** A session with a peer made by hand. `lower`: whether its id is lower than ours. */
class Scene {
  readonly provider = new CountingProvider(new SeededRandom(1))
  readonly peer: HandPeer
  readonly lone: LoneEndpoint
  readonly binding: Uint8Array
  session: HandSession
  readonly frames: HandFrame[] = []

  constructor(lower: boolean, dirty = true) {
    const random = new SimProvider(new SeededRandom(2))
    const self = new HandPeer(new SimProvider(new SeededRandom(3)), 1)
    this.peer = [9, 10, 11, 12, 13, 14, 15].map((seed) => new HandPeer(random, seed)).find(({ id }) => Buffer.compare(id, self.id) < 0 === lower)!
    this.lone = new LoneEndpoint({ provider: this.provider, seed: repeated(1), peers: [peerRecord(this.peer.id)], config: { keepAlive: 0 } })
    const initiation = this.peer.dial(this.lone.endpoint.id, { wall: this.lone.wall })
    const b = this.lone.receive({ from: PEER, bytes: initiation.datagram() })[0]!
    this.session = initiation.finish(b.bytes)
    const [low, high] = lower ? [this.peer.id, self.id] : [self.id, this.peer.id]
    const [sidLow, sidHigh] = lower ? [initiation.sidSelf, this.session.remote.sidSelf] : [this.session.remote.sidSelf, initiation.sidSelf]
    this.binding = random.sha256(new TextEncoder().encode('postern session'), low, high, sidLow, sidHigh)
    this.sidSelf = initiation.sidSelf
    this.send(ping)
    if (dirty) this.send(open(lower ? 0 : 1))
  }

  readonly sidSelf: Uint8Array

  /** A mode 1 A of this session, but for what is changed. */
  rekey(change: InitiationOptions = {}): HandInitiation {
    return this.peer.dial(this.lone.endpoint.id, {
      wall: this.lone.wall, sidSelf: this.sidSelf, sidPeer: this.session.remote.sidSelf, ...change, prologue: { mode: 1, binding: this.binding, ...change.prologue },
    })
  }

  offer(initiation: HandInitiation): HandFrame[] {
    return this.send(handshake(initiation.message, { message: 0, sender: initiation.index }))
  }

  /** Sends frames in one datagram and reads what comes back. */
  send(...frames: readonly (readonly number[])[]): HandFrame[] {
    return this.take(this.lone.receive({ from: PEER, bytes: this.session.seal(frames.flat()) }))
  }

  /** Reads what was sent, and does what a live peer does: acknowledges all, answers challenges. */
  take(sent: readonly Sent[]): HandFrame[] {
    const opened = sent.flatMap(({ bytes }) => this.session.open(bytes) ?? [])
    const frames = opened.flatMap(({ frames }) => frames)
    this.frames.push(...frames)
    for (const { counter, frames } of opened) {
      if (frames.every(({ type }) => type === 0x02)) continue
      const responses = frames.filter(({ type }) => type === 0x0a).flatMap(({ bytes }) => [0x0b, ...bytes])
      this.take(this.lone.receive({ from: PEER, bytes: this.session.seal([...ack(counter), ...responses]) }))
    }
    return frames
  }

  get closed(): number | undefined {
    return this.frames.find(({ type }) => type === 0x3f)?.fields[0]
  }

  get connection(): Connection {
    return this.lone.endpoint.node.sessions.find((session) => session !== undefined)!
  }

  counted(...names: readonly string[]): number[] {
    return names.map((name) => this.lone.counters[`rekeys_${name}`]!)
  }
}

const rekeyFrames = (frames: readonly HandFrame[], message: 0 | 1): HandFrame[] => frames.filter(({ type, fields }) => type === 0x0f && fields[0] === message)

describe('an A of the peer', () => {
  it('is answered under the old keys; the first datagram under the new ones puts them in place, and the old ones go after 10 s', () => {
    const scene = new Scene(true)
    const old = scene.session
    const initiation = scene.rekey()
    const [b] = rekeyFrames(scene.offer(initiation), 1)
    expect([b!.fields[1], b!.fields[3], b!.fields[4], b!.fields[5]]).toEqual([1, initiation.index, 0, 240])
    expect([scene.provider.live, scene.connection.state.next?.localIndex]).toEqual([4, b!.fields[2]])
    const fresh = initiation.finishMessage(b!.bytes, b!.fields[2]!)
    expect([fresh.remote.sidSelf, fresh.remote.sidPeer]).toEqual([old.remote.sidSelf, scene.sidSelf])
    // Nothing is sealed under them before.
    expect(scene.lone.receive({ from: PEER, bytes: old.seal(ping) }).every(({ bytes }) => readU32(bytes, 1) === old.localIndex)).toBe(true)
    const answers = scene.lone.receive({ from: PEER, bytes: fresh.seal(ping) })
    expect(answers.length).toBeGreaterThan(0)
    expect(answers.every(({ bytes }) => fresh.open(bytes) !== undefined)).toBe(true)
    // The old ones still open, and are acknowledged by 0x04.
    const other = scene.lone.receive({ from: PEER, bytes: old.seal(ping) }).flatMap(({ bytes }) => fresh.open(bytes)!.frames)
    expect(other.map(({ type }) => type)).toContain(0x04)
    expect([scene.provider.live, scene.counted('completed', 'failed', 'ignored')]).toEqual([4, [1, 0, 0]])
    scene.session = fresh
    scene.take(scene.lone.advance(11 * SECOND))
    expect([scene.provider.live, scene.lone.endpoint.tables()['sessions'], scene.lone.receive({ from: PEER, bytes: old.seal(ping) }).filter(({ bytes }) => bytes[0] === 0x62)]).toEqual([2, 1, []])
  })

  it('comes in pieces in any order, doubled and overlapping', () => {
    const scene = new Scene(true)
    const { message, index } = scene.rekey()
    const piece = (from: number, to: number): number[] => handshake(message.subarray(from, to), { message: 0, sender: index, offset: from, total: message.length })
    for (const [from, to] of [[200, 288], [0, 64], [0, 64], [30, 100]] as const) expect(rekeyFrames(scene.send(piece(from, to)), 1)).toEqual([])
    expect(rekeyFrames(scene.send(piece(100, 200)), 1)).toHaveLength(1)
    // Late copies are not another A.
    expect(rekeyFrames(scene.send(piece(0, 288)), 1)).toEqual([])
    expect(scene.counted('ignored', 'failed')).toEqual([1, 0])
  })

  it('whose keys are never used: they are wiped after 10 s, and the session is as it was', () => {
    const scene = new Scene(true)
    scene.offer(scene.rekey())
    expect(scene.provider.live).toBe(4)
    scene.take(scene.lone.advance(10.1 * SECOND))
    expect([scene.provider.live, scene.connection.state.next, scene.send(ping).some(({ type }) => type === 0x02)]).toEqual([2, undefined, true])
  })

  it('one in 5 s is answered, whatever comes: a flood of them costs three DH in 5 s and two keys', () => {
    const scene = new Scene(true)
    scene.provider.exchanges = 0
    let answered = 0
    for (let i = 0; i < 1000; i++) {
      answered += rekeyFrames(scene.offer(scene.rekey()), 1).length
      scene.take(scene.lone.advance(20_000))
      expect(scene.provider.live).toBeLessThanOrEqual(4)
      expect(scene.lone.endpoint.tables()['indexes']).toBeLessThanOrEqual(2)
    }
    expect([answered, scene.provider.exchanges, scene.closed]).toEqual([4, 12, undefined])
    expect(scene.counted('ignored')[0]).toBe(996)
  })

  it.each<[string, InitiationOptions]>([
    ['of mode 0', { prologue: { mode: 0, binding: new Uint8Array(32) } }],
    ['of another session', { prologue: { binding: repeated(7) } }],
    ['with another sid of its own', { sidSelf: repeated(7, 8) }],
    ['with another sid of ours', { sidPeer: repeated(7, 8) }],
    ['with another id', { id: repeated(7) }],
    ['with a status', { edit: (payload) => { payload[1] = 1; return payload } }],
    ['with another index inside', { edit: (payload) => { payload[8]! ^= 1; return payload } }],
  ])('%s is not answered, and nothing changes', (_what, change) => {
    const scene = new Scene(true)
    expect(rekeyFrames(scene.offer(scene.rekey(change)), 1)).toEqual([])
    expect([scene.counted('failed', 'completed'), scene.provider.live, scene.closed, scene.lone.endpoint.tables()['indexes']]).toEqual([[1, 0], 2, undefined, 1])
  })

  it('of another static than the peer’s is not answered, though it comes through the peer’s session', () => {
    const scene = new Scene(true)
    const other = new HandPeer(new SimProvider(new SeededRandom(5)), 40).dial(scene.lone.endpoint.id, {
      sidSelf: scene.sidSelf, sidPeer: scene.session.remote.sidSelf, id: scene.peer.id, prologue: { mode: 1, binding: scene.binding },
    })
    scene.provider.exchanges = 0
    expect(rekeyFrames(scene.offer(other), 1)).toEqual([])
    expect([scene.counted('failed'), scene.provider.exchanges]).toEqual([[1], 1])
  })

  it('of a suite that is not served, or any bytes, is ignored; 2000 malformed ones leave nothing behind', () => {
    const scene = new Scene(true)
    const random = new SeededRandom(6)
    const { message, index } = scene.rekey()
    scene.send(handshake(message, { message: 0, suite: 3, sender: index }))
    expect(scene.counted('ignored', 'failed')).toEqual([1, 0])
    const used = scene.lone.endpoint.arena.used
    for (let i = 0; i < 2000; i++) {
      const bytes = random.fill(new Uint8Array(1 + random.below(600)))
      const total = bytes.length + random.below(2048 - bytes.length)
      scene.send(handshake(bytes, { message: random.below(2) as 0 | 1, sender: 1 + random.below(3), receiver: 0, offset: random.below(total - bytes.length + 1), total }).map((byte, i) => (i === 7 ? 0 : byte)))
      if (scene.closed !== undefined) break
      scene.take(scene.lone.advance(50_000))
    }
    // B without a receiver is malformed.
    expect(scene.closed).toBe(4)
    scene.lone.advance(5 * SECOND)
    expect([scene.provider.live, scene.lone.endpoint.tables()['indexes'], scene.lone.endpoint.arena.used]).toEqual([0, 0, used])
  })
})

/** Lets the endpoint begin a rekey of its own: the responder's turn comes at 135 to 140 s. */
function ownRekey(scene: Scene): HandFrame {
  scene.frames.length = 0
  for (let s = 0; s < 150; s++) {
    scene.take(scene.lone.advance(SECOND))
    const found = rekeyFrames(scene.frames, 0)
    if (found.length > 0) return found[0]!
    if (s % 5 === 0) scene.send(ping)
  }
  throw new Error('no rekey came')
}

describe('an A of ours', () => {
  it('is answered by hand: the new keys are used at once, the first datagram asks for an acknowledgement', () => {
    const scene = new Scene(true)
    const a = ownRekey(scene)
    const { message, session } = scene.peer.answerMessage(a.bytes, a.fields[2]!, { sidSelf: scene.sidSelf }, { mode: 1, binding: scene.binding })
    const b = handshake(message, { message: 1, sender: session.localIndex, receiver: a.fields[2]! })
    const sent = scene.lone.receive({ from: PEER, bytes: scene.session.seal(b) })
    expect(sent.map(({ bytes }) => session.open(bytes)?.frames.map(({ type }) => type)).flat()).toContain(0x01)
    expect(scene.counted('begun', 'completed', 'failed')).toEqual([1, 1, 0])
    // Its copy is of no exchange any more.
    scene.lone.receive({ from: PEER, bytes: scene.session.seal(b) })
    expect(scene.counted('ignored')).toEqual([1])
  })

  it('survives false answers: four of them cost DH, the true one is still good among them', () => {
    const scene = new Scene(true)
    const a = ownRekey(scene)
    const { message, session } = scene.peer.answerMessage(a.bytes, a.fields[2]!, { sidSelf: scene.sidSelf }, { mode: 1, binding: scene.binding })
    for (let i = 0; i < 3; i++) {
      const wrong = message.slice()
      wrong[100 + i]! ^= 1
      scene.send(handshake(wrong, { message: 1, sender: session.localIndex, receiver: a.fields[2]! }))
    }
    scene.send(handshake(message, { message: 1, sender: session.localIndex, receiver: a.fields[2]! + 1 }))
    expect(scene.counted('failed', 'ignored', 'completed')).toEqual([3, 1, 0])
    scene.send(handshake(message, { message: 1, sender: session.localIndex, receiver: a.fields[2]! }))
    expect(scene.counted('failed', 'completed')).toEqual([3, 1])
  })

  it('a flood of false answers costs two DH each four times, and the next attempt is a fresh one', () => {
    const scene = new Scene(true)
    const a = ownRekey(scene)
    scene.provider.exchanges = 0
    for (let i = 0; i < 100; i++) scene.send(handshake(repeated(i, 240), { message: 1, sender: 1 + i, receiver: a.fields[2]! }))
    expect([scene.provider.exchanges, scene.counted('failed', 'ignored')]).toEqual([8, [4, 96]])
    scene.frames.length = 0
    for (let i = 0; i < 6; i++) {
      scene.take(scene.lone.advance(SECOND))
      scene.send(ping)
    }
    const [fresh] = rekeyFrames(scene.frames, 0)
    expect(fresh!.fields[2]).not.toBe(a.fields[2])
    expect(equalBytes(fresh!.bytes, a.bytes)).toBe(false)
    expect(scene.lone.endpoint.tables()['indexes']).toBe(2)
  })

  it('an authentic refusal or contradiction ends the attempt', () => {
    for (const change of [{ status: 1 }, { sidPeer: repeated(7, 8) }, { sidSelf: repeated(7, 8) }, { id: repeated(7) }]) {
      const scene = new Scene(true)
      const a = ownRekey(scene)
      const { message, session } = scene.peer.answerMessage(a.bytes, a.fields[2]!, { sidSelf: scene.sidSelf, ...change }, { mode: 1, binding: scene.binding })
      scene.send(handshake(message, { message: 1, sender: session.localIndex, receiver: a.fields[2]! }))
      expect([scene.counted('failed', 'completed'), scene.closed, scene.send(ping).some(({ type }) => type === 0x02)]).toEqual([[1, 0], undefined, true])
    }
  })

  it('both began: the lower id’s A wins, the other stays unanswered', () => {
    const weAreLower = new Scene(false)
    const ours = ownRekey(weAreLower)
    expect(rekeyFrames(weAreLower.offer(weAreLower.rekey()), 1)).toEqual([])
    const { message, session } = weAreLower.peer.answerMessage(ours.bytes, ours.fields[2]!, { sidSelf: weAreLower.sidSelf }, { mode: 1, binding: weAreLower.binding })
    weAreLower.send(handshake(message, { message: 1, sender: session.localIndex, receiver: ours.fields[2]! }))
    expect(weAreLower.counted('ignored', 'completed')).toEqual([1, 1])

    const theyAreLower = new Scene(true)
    const lost = ownRekey(theyAreLower)
    expect(rekeyFrames(theyAreLower.offer(theyAreLower.rekey()), 1)).toHaveLength(1)
    const late = theyAreLower.peer.answerMessage(lost.bytes, lost.fields[2]!, { sidSelf: theyAreLower.sidSelf }, { mode: 1, binding: theyAreLower.binding })
    theyAreLower.send(handshake(late.message, { message: 1, sender: late.session.localIndex, receiver: lost.fields[2]! }))
    expect([theyAreLower.counted('ignored', 'completed'), theyAreLower.lone.endpoint.tables()['indexes']]).toEqual([[1, 0], 2])
  })
})

// ── two whole nodes ───────────────────────────────────────────────────────────────────────────────────────────────────────

function connected(seed: number, config = {}, configB = {}): { world: SimWorld; a: Player; b: Player } {
  const world = new SimWorld(seed)
  const a = world.player('a', seed % 2 === 0 ? 1 : 2, '192.0.2.1', config)
  const b = world.player('b', seed % 2 === 0 ? 2 : 1, '192.0.2.2', { ...config, ...configB })
  a.know(b)
  b.know(a)
  a.connect(b)
  expect(world.until(() => a.stateOf(b) === 'connected' && b.stateOf(a) === 'connected', 5)).toBeLessThan(5)
  return { world, a, b }
}

const connectionOf = (player: Player): Connection => player.node.endpoint.node.sessions.find((session) => session !== undefined)!
const currentOf = (player: Player): Keys => connectionOf(player).state.current!

/** As if so many datagrams had been sent under the current keys. */
function wear(player: Player, count: number): void {
  const keys = currentOf(player)
  keys.sendCounter += count
  keys.skipCounter += count
  keys.orderBase -= count
  connectionOf(player).state.keysChanged = true
  player.node.act((endpoint, now) => {
    connectionOf(player).update(now)
    endpoint.node.reschedule(connectionOf(player))
  })
}

function expectAgreement(a: Player, b: Player): void {
  expect([currentOf(a).remoteIndex, currentOf(b).remoteIndex]).toEqual([currentOf(b).localIndex, currentOf(a).localIndex])
}

describe('two nodes', () => {
  it('begin at once or nearly so, 150 interleavings: one exchange wins, nothing is lost, doubled or stuck', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const { world, a, b } = connected(seed)
      const random = new SeededRandom(seed)
      world.network.setConditions({ ...perfectWire, delay: 20_000, jitter: 10_000, loss: seed % 3 === 0 ? 0.2 : 0, duplicate: 0.1 })
      const channels = [a.open(b), b.open(a)] as const
      for (let n = 0; n < 40; n++) {
        world.scheduler.at(world.scheduler.now + n * 30_000, () => {
          a.send(channels[0], `a ${n}`)
          b.send(channels[1], `b ${n}`)
        })
      }
      const gap = random.below(60_000)
      world.scheduler.at(world.scheduler.now + 500_000, () => { wear(a, 2 ** 48 - 2 ** 32) })
      world.scheduler.at(world.scheduler.now + 500_000 + gap, () => { if (currentOf(b).sendCounter < 2 ** 40) wear(b, 2 ** 48 - 2 ** 32) })
      const completed = (): boolean => a.counter('rekeys_completed') >= 1 && b.counter('rekeys_completed') >= 1
      expect(world.until(completed, 30), `seed ${seed}`).toBeLessThan(20)
      world.network.setConditions(perfectWire)
      world.run(25)
      expectAgreement(a, b)
      expect([b.received, a.received], `seed ${seed}`).toEqual(['a', 'b'].map((name) => Array.from({ length: 40 }, (_, n) => `${name} ${n}`)))
      expect([a.counter('rekeys_failed'), b.counter('rekeys_failed'), a.counter('sessions_restarted'), connectionOf(a).state.rekeying?.pending, connectionOf(b).state.next]).toEqual([0, 0, 0, undefined, undefined])
    }
  })

  it('2^48 datagrams: an hour before the end new keys come', () => {
    const { world, a, b } = connected(2)
    const first = currentOf(a)
    wear(a, 2 ** 48 - 2 ** 32 - 1000)
    world.run(5)
    expect(currentOf(a)).toBe(first)
    wear(a, 1000)
    world.run(5)
    expect([currentOf(a) === first, a.counter('rekeys_completed'), b.counter('rekeys_completed')]).toEqual([false, 1, 1])
  })

  it('a peer that moves to another address gets new keys, but not within 30 s of the last ones', () => {
    for (const [after, within] of [[5, 27], [60, 3]] as const) {
      const { world, a, b } = connected(3)
      world.run(after)
      const index = currentOf(a).localIndex
      b.node.move(encodeAddress('198.51.100.9', 7000)!)
      b.node.act((endpoint, now) => endpoint.ping(now, b.handleOf(a)))
      b.send(b.open(a), 'moved')
      const took = world.until(() => currentOf(a).localIndex !== index, 40)
      expect(took).toBeLessThan(within)
      if (after === 5) expect(took).toBeGreaterThan(20)
      world.run(2)
      expectAgreement(a, b)
      expect([a.counter('paths_migrated') > 0, a.counter('rekeys_completed'), b.counter('rekeys_completed')]).toEqual([true, 1, 1])
    }
  })

  it('no key of the first 5 s is held after 200 s, in a slot or anywhere the provider knows', () => {
    const { world, a, b } = connected(4)
    const held = new Map<number, Uint8Array>()
    const firsts = [currentOf(a).seal, currentOf(a).open]
    const add = a.provider.addKey.bind(a.provider)
    const remove = a.provider.removeKey.bind(a.provider)
    a.provider.addKey = (key) => { const slot = add(key); held.set(slot, key); return slot }
    a.provider.removeKey = (slot) => { remove(slot); held.delete(slot); firsts.splice(0, firsts.length, ...firsts.filter((first) => first !== slot)) }
    const channel = a.open(b)
    for (let n = 0; n < 200; n++) world.scheduler.at(world.scheduler.now + n * SECOND, () => { a.send(channel, `a ${n}`) })
    world.run(200)
    expect([firsts, a.provider.live, held.size]).toEqual([[], 2, 2])
    // What was handed to the provider is overwritten: only its own copy is left.
    for (const key of held.values()) expect(key.every((byte) => byte === 0)).toBe(true)
    expect(b.received).toHaveLength(200)
  })

  it('frames that never arrive: attempts every 5 s, and beyond 90 s one a minute, until the wipe', () => {
    const { world, a, b } = connected(6, { rejectAfter: 600 * SECOND }, { rekeyAfter: 9999 * SECOND })
    // Deaf to rekeys, not to anything else.
    b.node.endpoint.node.rekeyService!.answer = () => undefined
    a.send(a.open(b), 'a 0')
    world.run(119)
    expect(a.counter('rekeys_begun')).toBe(0)
    world.run(6 + 90)
    const loud = a.counter('rekeys_begun')
    expect(loud).toBeGreaterThanOrEqual(17)
    expect(loud).toBeLessThanOrEqual(19)
    world.run(300)
    expect(a.counter('rekeys_begun') - loud).toBeGreaterThanOrEqual(4)
    expect(a.counter('rekeys_begun') - loud).toBeLessThanOrEqual(7)
    expect([a.stateOf(b), a.node.endpoint.tables()['indexes']! <= 2]).toEqual(['connected', true])
  })
})
