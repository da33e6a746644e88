/**
 * A peer with a valid key that does what it likes (WIRE.md §5, §9 "malicious peer"). Each breach closes its session with the code
 * of its rule; its memory stays bounded and comes back; the session beside it never notices.
 */
import { describe, expect, it } from 'vitest'
import type { ChannelHandle } from '../../../src/core/endpoint/contract.ts'
import { SeededRandom } from '../../../src/sim/random.ts'
import { SimProvider } from '../../../src/sim/sim-provider.ts'
import { repeated } from '../../support/bytes.ts'
import { accept, ack, challenge, channelClose, close, fragment, handshake, message, observed, open, ping, skip, vi, u32, type HandFrame } from '../../support/hand-frames.ts'
import { HandPeer, type HandSession } from '../../support/hand-peer.ts'
import { address, LoneEndpoint, peerRecord, type Sent } from '../../support/lone-endpoint.ts'
import { WatchedProvider } from '../../support/sim-world.ts'

const PEER = address('192.0.2.7')
const OTHER = address('192.0.2.8')
const SECOND = 1_000_000
const [PROTOCOL, FRAME_ENCODING, FLOW_CONTROL, LIMIT] = [3, 4, 5, 6] as const
const CONFIG = { maxMessage: 10_000, maxChannelData: 100_000, maxData: 150_000 }

class Scene {
  readonly provider = new WatchedProvider(new SeededRandom(1))
  readonly lone: LoneEndpoint
  readonly peer: HandPeer
  readonly session: HandSession
  readonly beside: HandSession
  /** First channel id of the hostile side, and of ours. */
  readonly theirs: number
  readonly ours: number
  readonly frames: HandFrame[] = []
  readonly baseline: number

  constructor(config: ConstructorParameters<typeof LoneEndpoint>[0]['config'] = CONFIG, memory = 8 << 20) {
    this.peer = new HandPeer(new SimProvider(new SeededRandom(2)), 9)
    const other = new HandPeer(new SimProvider(new SeededRandom(3)), 10)
    this.lone = new LoneEndpoint({ provider: this.provider, seed: repeated(1), peers: [peerRecord(this.peer.id), peerRecord(other.id)], config: { ...config, keepAlive: 0 }, memory })
    this.beside = join(this.lone, other, OTHER)
    this.baseline = this.lone.endpoint.arena.used
    this.session = join(this.lone, this.peer, PEER)
    // Our counters stand above all that a malformed ACK below names: its form is wrong, not what it says.
    for (let i = 0; i < 8; i++) this.send(ping)
    const lower = Buffer.compare(this.peer.id, this.lone.endpoint.id) < 0
    this.theirs = lower ? 0 : 1
    this.ours = 1 - this.theirs
  }

  /** Sends frames in one datagram and reads what comes back. */
  send(...frames: readonly (readonly number[])[]): HandFrame[] {
    return this.take(this.lone.receive({ from: PEER, bytes: this.session.seal(frames.flat()) }))
  }

  /** The frames stand at the very end of the plaintext: nothing behind them could be read as theirs. */
  sendAtEnd(frame: readonly number[]): HandFrame[] {
    const room = Math.max(16, (frame.length + 15) & ~15)
    return this.take(this.lone.receive({ from: PEER, bytes: this.session.seal([...new Array<number>(room - frame.length).fill(0), ...frame]) }))
  }

  take(sent: readonly Sent[]): HandFrame[] {
    const frames = sent.flatMap(({ bytes }) => this.session.open(bytes)?.frames ?? [])
    this.frames.push(...frames)
    return frames
  }

  get closed(): number | undefined {
    return this.frames.find(({ type }) => type === 0x3f)?.fields[0]
  }

  /** The channel as the endpoint's host sees it. */
  incoming(): ChannelHandle {
    const event = this.lone.events.findLast(({ kind }) => kind === 'channel-incoming')
    if (event?.kind !== 'channel-incoming') throw new Error('no channel came in')
    return event.channel
  }

  /** Opens a channel from the hostile side and accepts it. */
  opened(mode = 0, id = this.theirs, credit = 1 << 20, consumer = 1): ChannelHandle {
    this.send(open(id, { mode }))
    const channel = this.incoming()
    this.lone.act((endpoint, now) => endpoint.acceptChannel(now, channel, { credit, consumer, overflow: 'block' }))
    this.take(this.lone.drain())
    return channel
  }

  /** Everything this session held is given back, and the one beside it is well. */
  expectClean(code: number | undefined): void {
    expect(this.closed).toBe(code)
    const answer = this.lone.receive({ from: OTHER, bytes: this.beside.seal(ping) })
    expect(answer.some(({ bytes }) => this.beside.open(bytes)?.frames[0]?.type === 0x02)).toBe(true)
    if (code === undefined) return
    this.lone.advance(5 * SECOND)
    expect([this.lone.endpoint.arena.used, this.provider.live, this.lone.endpoint.tables()['sessions']]).toEqual([this.baseline, 2, 1])
  }
}

function join(lone: LoneEndpoint, peer: HandPeer, from: Uint8Array): HandSession {
  const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall })
  const b = lone.receive({ from, bytes: initiation.datagram() }).find(({ bytes }) => bytes[0] === 0x60)!
  const session = initiation.finish(b.bytes)
  lone.receive({ from, bytes: session.seal(ping) })
  return session
}

/** One scene per case; a number of frames each, the last of which decides. */
function expectCode(code: number | undefined, ...frames: readonly (readonly number[])[]): Scene {
  const scene = new Scene()
  for (const frame of frames) scene.send(frame)
  scene.expectClean(code)
  return scene
}

describe('frames that are not well-formed', () => {
  const { theirs } = new Scene()
  const whole: readonly (readonly number[])[] = [
    ack(2), ack(5, 1, [[0, 0]]), [0x03, ...ack(2).slice(1), 0, 0, 0], [0x04, ...u32(5), ...ack(2).slice(1)], [0x06, ...vi(70_000)], [0x07, ...vi(theirs), ...vi(9)], [0x08, ...vi(9)], [0x09, ...vi(theirs), ...vi(9)],
    challenge(), [0x0b, ...challenge().slice(1)], [0x0d, 1, 1, 1, 200, 1, 0, 4, 8, 8, 8, 8, 1, 9], observed(1), [0x0c, 1, 6, ...new Array<number>(16).fill(7), 1, 2], message(theirs, 0, [1, 2, 3]), fragment(theirs, 0, 2, 9, [1, 2, 3]), skip(theirs, 0, 100),
    handshake(repeated(7, 9), { message: 0, sender: 5 }), handshake(repeated(7, 9), { message: 1, sender: 5, receiver: 6, offset: 3, total: 2048 }),
    open(theirs, { meta: [1, 2, 3] }), accept(theirs), channelClose(theirs, { reason: 'why' }), close(0, 'why'), [...vi(0x5f), ...vi(5), 1, 2, 3, 4, 5], [...vi(0x4000), ...vi(2), 1, 2],
  ]

  it('every frame cut short anywhere: FRAME_ENCODING', () => {
    let cases = 0
    for (const frame of whole) {
      for (let length = 1; length < frame.length; length++) {
        const scene = new Scene()
        scene.sendAtEnd(frame.slice(0, length))
        if (scene.closed !== FRAME_ENCODING) throw new Error(`${Buffer.from(frame.slice(0, length)).toString('hex')} of ${Buffer.from(frame).toString('hex')} gives ${scene.closed}`)
        cases++
      }
    }
    expect(cases).toBe(198)
  })

  it.each([
    ['a type below 0x40 that is longer than one byte', [0x40, 0x01]],
    ['PADDING in two bytes', [0x40, 0x00]],
    ['a known type in four bytes', [0x80, 0, 0, 0x11, 0, 0, 1, 9]],
    ['an extension type in four bytes that needs two', [0x80, 0, 0x00, 0x5f, 0]],
    ['an extension type in eight bytes that needs two', [0xc0, 0, 0, 0, 0, 0, 0, 0x5f, 0]],
    ['an extension longer than its datagram', [...vi(0x41), ...vi(1000)]],
    ['a value above 2^53', [0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ['an ACK whose first range begins below 0', ack(2, 3)],
    ['an ACK whose later range begins below 0', ack(5, 1, [[0, 9]])],
    ['an ACK of more ranges than 64', ack(3, 0, new Array(65).fill([0, 0]) as [number, number][])],
    ['CHANNEL_OPEN in lane 4', open(theirs, { lane: 4 })],
    ['CHANNEL_OPEN of weight 0', open(theirs, { weight: 0 })],
    ['CHANNEL_OPEN without an app', open(theirs, { app: '' })],
    ['CHANNEL_OPEN of an app of 65 characters', open(theirs, { app: 'a'.repeat(65) })],
    ['CHANNEL_OPEN of an app with a capital', open(theirs, { app: 'Chess' })],
    ['CHANNEL_OPEN with 257 bytes of meta', open(theirs, { meta: new Array<number>(257).fill(1) })],
    ['a reason that is not UTF-8', [0x3f, 0, 0, 2, 0xc3, 0x28]],
    ['a v4-mapped address written as af 6', [0x0c, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4, 5, 6]],
    ['HANDSHAKE of message C', [0x0f, 2, ...handshake([1], { message: 0, sender: 5 }).slice(2)]],
    ['HANDSHAKE of nothing', handshake([], { message: 0, sender: 5, total: 9 })],
    ['HANDSHAKE of 2049 bytes', handshake([1], { message: 0, sender: 5, total: 2049 })],
    ['HANDSHAKE beyond its total', handshake([1, 2], { message: 0, sender: 5, offset: 8, total: 9 })],
    ['HANDSHAKE without a sender', handshake([1], { message: 0, sender: 0 })],
    ['HANDSHAKE A with a receiver', handshake([1], { message: 0, sender: 5, receiver: 6 })],
    ['HANDSHAKE B without one', handshake([1], { message: 1, sender: 5 })],
    ['an address of no family', [0x0c, 1, 5, 1, 2, 3, 4, 5, 6]],
    ['33 candidates', [0x0d, 1, 33]],
    ['a presence key that is cut', [0x31, 1, ...new Array<number>(31).fill(7)]],
    ['a step of pairing that nobody knows', [0x32, 5]],
    ['a commitment that is cut', [0x32, 0, ...new Array<number>(31).fill(7)]],
    ['a candidate of no family', [0x0d, 1, 1, 1, 200, 1, 0, 5, 1, 2, 3, 4, 5, 6]],
  ])('%s: FRAME_ENCODING', (_what, frame) => { expectCode(FRAME_ENCODING, frame) })

  it.each([
    ['a fragment beyond its total', (id: number) => fragment(id, 0, 8, 9, [1, 2])],
    ['a fragment of nothing at 0', (id: number) => fragment(id, 0, 0, 9, [])],
  ])('%s: FRAME_ENCODING', (_what, frame) => {
    const scene = new Scene()
    scene.opened()
    scene.send(frame(scene.theirs))
    scene.expectClean(FRAME_ENCODING)
  })

  it('every unknown type below 0x40: PROTOCOL', () => {
    const known = new Set([0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x22, 0x31, 0x32, 0x3f])
    for (let type = 0; type < 0x40; type++) if (!known.has(type)) expectCode(PROTOCOL, [type, 1, 1, 1])
  })

  it('extensions and grease are skipped by their length, wherever they stand', () => {
    const scene = expectCode(undefined, [...vi(0x40 + 31), ...vi(3), 1, 2, 3, ...ping], [...vi(0x41), 0, ...vi(0x1234), ...vi(40), ...new Array<number>(40).fill(0xff)], [...vi(2 ** 40 + 2), ...vi(1), 9], [...vi(0x42), ...vi(2, 8), 1, 1])
    expect([scene.lone.counters['grease_skipped'], scene.lone.counters['extensions_skipped']]).toEqual([1, 4])
    expect(scene.frames.filter(({ type }) => type === 0x02).length).toBeGreaterThan(0)
  })

  it('what stands before a bad frame counts, what stands behind it does not', () => {
    const scene = new Scene()
    scene.send(open(scene.theirs), [0x15], open(scene.theirs + 2))
    expect(scene.lone.events.filter(({ kind }) => kind === 'channel-incoming')).toHaveLength(1)
    scene.expectClean(PROTOCOL)
  })
})

describe('acknowledgements', () => {
  it('of a packet never sent: PROTOCOL; of the last one sent: right', () => {
    const scene = new Scene()
    const last = scene.lone.receive({ from: PEER, bytes: scene.session.seal(ping) }).map(({ bytes }) => scene.session.open(bytes)!.counter).at(-1)!
    scene.send(ack(last, last))
    expect(scene.closed).toBeUndefined()
    const now = scene.session.counter
    scene.send(ack(now + 1000))
    scene.expectClean(PROTOCOL)
  })

  it('of a counter that was skipped: PROTOCOL', () => {
    const scene = new Scene()
    const seen = new Set<number>()
    while (seen.size < 2100) {
      for (const { bytes } of scene.lone.receive({ from: PEER, bytes: scene.session.seal(ping) })) {
        const opened = scene.session.open(bytes)
        if (opened !== undefined) seen.add(opened.counter)
      }
    }
    const greatest = Math.max(...seen)
    const skipped = Array.from({ length: greatest }, (_, i) => i).filter((i) => i > 0 && !seen.has(i))
    expect(skipped.length).toBeGreaterThanOrEqual(2)
    for (let i = 1; i < skipped.length; i++) expect(skipped[i]! - skipped[i - 1]!).toBeLessThanOrEqual(1025)
    scene.send(ack(skipped.at(-1)!))
    scene.expectClean(PROTOCOL)
  })

  it('64 ranges are right', () => {
    const scene = new Scene()
    for (let i = 0; i < 200; i++) scene.send(ping)
    scene.send(ack(150, 0, new Array(64).fill([0, 0]) as [number, number][]))
    scene.expectClean(undefined)
  })

  it('of keys that are unknown are read and ignored', () => {
    expectCode(undefined, [0x04, ...u32(12345), ...ack(2 ** 40).slice(1)], [0x05, ...u32(1), ...ack(9, 9).slice(1), 1, 2, 3])
  })
})

describe('channels', () => {
  const { theirs, ours } = new Scene()

  it.each([
    ['an id of our side', open(ours)], ['an id of 2^31', open(2 ** 31 + theirs)],
    ['a message for a channel of theirs never opened', message(theirs, 0, [1])], ['a message for a channel of ours never opened', message(ours, 0, [1])],
    ['a fragment for none', fragment(theirs, 0, 0, 5, [1])], ['SKIP for none', skip(theirs, 0, 5)], ['ACCEPT of none', accept(ours)], ['ACCEPT of their own', [...open(theirs), ...accept(theirs)]],
    ['CHANNEL_CLOSE of none', channelClose(ours)], ['MAX_CHANNEL_DATA of none', [0x07, ...vi(ours), 5]], ['CHANNEL_BLOCKED of none', [0x09, ...vi(theirs), 5]],
  ])('%s: PROTOCOL', (_what, frame) => { expectCode(PROTOCOL, frame) })

  it('256 at once; the next ones are refused with the channel code `limit`, and 512 unanswered ones are LIMIT', () => {
    const scene = new Scene()
    for (let i = 0; i < 256; i++) scene.send(open(theirs + 2 * i))
    expect(scene.lone.events.filter(({ kind }) => kind === 'channel-incoming')).toHaveLength(256)
    expect(scene.frames.filter(({ type }) => type === 0x22)).toEqual([])
    scene.send(open(theirs + 2 * 256))
    expect(scene.frames.filter(({ type }) => type === 0x22).map(({ fields }) => [fields[0], fields[2]])).toEqual([[theirs + 512, 4]])
    for (let i = 257; i < 512; i++) scene.send(open(theirs + 2 * i))
    expect(scene.closed).toBeUndefined()
    scene.send(open(theirs + 1024))
    scene.expectClean(LIMIT)
  })

  it('at most 257 gaps in their ids', () => {
    const scene = new Scene()
    for (let i = 0; i < 257; i++) scene.send(open(theirs + 4 * i))
    expect(scene.closed).toBeUndefined()
    scene.send(open(theirs + 4 * 300))
    scene.expectClean(LIMIT)
  })

  it('opened and closed 3000 times leave nothing behind', () => {
    const scene = new Scene()
    for (let i = 0; i < 3000; i++) {
      const answers = scene.lone.receive({ from: PEER, bytes: scene.session.seal([...open(theirs + 2 * i), ...channelClose(theirs + 2 * i, { abort: true })]) })
      for (const { bytes } of answers) scene.send(ack(scene.session.open(bytes)!.counter))
    }
    expect([scene.closed, scene.lone.endpoint.arena.used]).toEqual([undefined, scene.baseline])
    expect(scene.lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(scene.peer.id)!)!.channels)).toBeLessThan(16)
  })

  it('modes of a later version are refused, what comes on them is ignored, the session goes on', () => {
    const scene = new Scene()
    scene.send(open(theirs, { mode: 4 }), open(theirs + 2, { mode: 255 }))
    expect(scene.frames.filter(({ type }) => type === 0x22).map(({ fields }) => fields[2])).toEqual([2, 2])
    scene.send(message(theirs, 0, [1, 2, 3]))
    scene.expectClean(undefined)
    expect(scene.lone.endpoint.counters()['channels_refused']).toBe(2)
  })

  it('frames for a closed channel are ignored', () => {
    const scene = new Scene()
    const channel = scene.opened()
    scene.lone.act((endpoint, now) => { endpoint.closeChannel(now, channel, { abort: true, code: 300, reason: 'enough' }) })
    for (const frame of [message(theirs, 0, [1]), fragment(theirs, 1, 0, 9, [1]), skip(theirs, 2, 9), channelClose(theirs), message(theirs, 3, [1]), open(theirs)]) scene.send(frame)
    scene.expectClean(undefined)
    expect(scene.lone.messages).toEqual([])
  })

  it('an endless CHANNEL_CLOSE of more messages than will ever come ends after the drain time', () => {
    const scene = new Scene()
    scene.opened()
    scene.send(channelClose(theirs, { final: 2 ** 40, cost: 500 }))
    scene.take(scene.lone.advance(9 * SECOND))
    expect(scene.lone.events.filter(({ kind }) => kind === 'channel-closed')).toEqual([])
    scene.send(ping)
    scene.take(scene.lone.advance(2 * SECOND))
    expect(scene.lone.events.filter(({ kind }) => kind === 'channel-closed')).toHaveLength(1)
  })
})

describe('sizes and credit', () => {
  it('a message of max_message is right, one byte more is LIMIT', () => {
    for (const [total, code] of [[10_000, undefined], [10_001, LIMIT]] as const) {
      const scene = new Scene()
      scene.opened()
      for (let at = 0; at < total; at += 1000) scene.send(fragment(scene.theirs, 0, at, total, repeated(7, Math.min(1000, total - at))))
      expect(scene.lone.messages.map(({ bytes }) => bytes.length)).toEqual(code === undefined ? [10_000] : [])
      scene.expectClean(code)
    }
  })

  it('a channel’s credit to the byte is right, one more is FLOW_CONTROL', () => {
    for (const [last, code] of [[100_000 - 9 * 10_032 - 32, undefined], [100_000 - 9 * 10_032 - 31, FLOW_CONTROL]] as const) {
      const scene = new Scene()
      scene.lone.consumes = false
      scene.opened()
      for (let id = 0; id < 9; id++) scene.send(fragment(scene.theirs, id, 0, 10_000, [1]))
      scene.send(fragment(scene.theirs, 9, 0, last, [1]))
      scene.expectClean(code)
    }
  })

  it.each([1, 2, 8, 16])('the session’s credit holds over all channels of %d consumers that read nothing: four windows', (consumers) => {
    const scene = new Scene()
    scene.lone.consumes = false
    for (let i = 0; i < 16; i++) scene.opened(0, scene.theirs + 2 * i, 1 << 20, i % consumers)
    let sent = 0
    for (let id = 0; scene.closed === undefined && id < 300; id++) {
      scene.send(fragment(scene.theirs + 2 * (id % 16), id >> 4, 0, 5000, [1]))
      sent += 5032
    }
    expect(sent - 5032).toBeLessThanOrEqual(4 * 150_000)
    expect(sent).toBeGreaterThan(150_000)
    scene.expectClean(FLOW_CONTROL)
  })

  it('many consumers that each leave a little unread leave half of the window to the others', () => {
    const scene = new Scene()
    scene.lone.consumes = false
    for (let i = 0; i < 15; i++) {
      scene.opened(0, scene.theirs + 2 * i, 1 << 20, i)
      scene.send(fragment(scene.theirs + 2 * i, 0, 0, 9000, [1]))
    }
    // 15 × 9032 of 150,000 are unread, more than half of it; another program gets half a window all the same.
    scene.opened(0, scene.theirs + 30, 1 << 20, 15)
    for (let id = 0; id < 7; id++) scene.send(fragment(scene.theirs + 30, id, 0, 9000, [1]))
    expect(scene.closed).toBeUndefined()
  })

  it('one consumer that reads nothing holds back the others until four windows are full', () => {
    const scene = new Scene()
    scene.lone.consumes = false
    for (let i = 0; i < 16; i++) scene.opened(0, scene.theirs + 2 * i)
    let sent = 0
    for (let id = 0; scene.closed === undefined && id < 300; id++) {
      scene.send(fragment(scene.theirs + 2 * (id % 16), id >> 4, 0, 5000, [1]))
      sent += 5032
    }
    expect(sent).toBeGreaterThan(3 * 150_000)
    expect(sent - 5032).toBeLessThanOrEqual(4 * 150_000)
    scene.expectClean(FLOW_CONTROL)
  })

  it('windows that barely hold one message are raised as soon as all is read, wide ones in steps', () => {
    for (const [room, raises] of [[10_032, [6, 7]], [40_000, []]] as const) {
      const scene = new Scene({ maxMessage: 10_000, maxChannelData: room, maxData: room })
      scene.opened()
      const frames = scene.send(message(scene.theirs, 0, repeated(7, 100)))
      expect(frames.map(({ type }) => type).filter((type) => type === 6 || type === 7)).toEqual(raises)
      if (raises.length > 0) expect(frames.filter(({ type }) => type === 6 || type === 7).map(({ fields }) => fields.at(-1))).toEqual([room + 132, room + 132])
      for (let id = 1; id < 20; id++) {
        scene.send(fragment(scene.theirs, id, 0, 10_000, repeated(7, 1000)))
        for (let at = 1000; at < 10_000; at += 1000) scene.send(fragment(scene.theirs, id, at, 10_000, repeated(7, 1000)))
      }
      scene.expectClean(undefined)
    }
  })

  it('empty messages cost 32 each', () => {
    const scene = new Scene()
    scene.lone.consumes = false
    scene.opened(0, scene.theirs, 0)
    let id = 0
    while (scene.closed === undefined && id < 5000) {
      scene.send(...Array.from({ length: 50 }, () => message(scene.theirs, id++, [])))
    }
    expect(id).toBeLessThanOrEqual(Math.ceil(100_000 / 32) + 50)
    scene.expectClean(FLOW_CONTROL)
  })

  it('an id shows what all ids before it cost: one far ahead takes that much credit, on all channels together', () => {
    const first = new Scene()
    first.opened()
    first.send(message(first.theirs, 3124, []))
    expect(first.closed).toBeUndefined()
    const scene = new Scene()
    scene.opened()
    scene.send(message(scene.theirs, 3125, []))
    scene.expectClean(FLOW_CONTROL)

    const many = new Scene()
    for (let i = 0; i < 24 && many.closed === undefined; i++) {
      many.opened(0, many.theirs + 2 * i, 1 << 20, i)
      many.send(message(many.theirs + 2 * i, 1000, []))
    }
    many.expectClean(FLOW_CONTROL)
    const huge = new Scene()
    huge.opened()
    huge.send(message(huge.theirs, 2 ** 50, []))
    huge.expectClean(FLOW_CONTROL)
  })

  it('what came ahead is delivered in order when the missing ones come, at its right cost', () => {
    const scene = new Scene()
    const channel = scene.opened()
    for (const id of [5, 3, 4, 1, 2]) scene.send(message(scene.theirs, id, [id]))
    expect(scene.lone.messages).toEqual([])
    scene.send(message(scene.theirs, 0, [0]))
    expect(scene.lone.messages.map(({ bytes }) => bytes[0])).toEqual([0, 1, 2, 3, 4, 5])
    expect(scene.lone.act((endpoint) => endpoint.channelStats(channel)?.received)).toBe(6)
    // All of it was consumed, so the whole window is there again.
    let id = 6
    for (let left = 100_000; left >= 10_032; left -= 10_032) scene.send(fragment(scene.theirs, id++, 0, 10_000, [1]))
    scene.expectClean(undefined)
  })

  it('SKIP beyond the credit or with another total: FLOW_CONTROL, PROTOCOL; a right one gives its credit back', () => {
    const beyond = new Scene()
    beyond.opened()
    beyond.send(skip(beyond.theirs, 0, 2 ** 40))
    beyond.expectClean(FLOW_CONTROL)
    const other = new Scene()
    other.opened()
    other.send(fragment(other.theirs, 0, 0, 100, [1]))
    other.send(skip(other.theirs, 0, 10_000))
    other.expectClean(PROTOCOL)
    const right = new Scene()
    right.opened()
    for (let id = 0; id < 100; id++) right.send(fragment(right.theirs, id, 0, 9000, [1]), skip(right.theirs, id, 9000))
    right.expectClean(undefined)
    expect(right.lone.endpoint.arena.used).toBe(right.baseline)
  })

  it('a CHANNEL_CLOSE that costs more than the credit: FLOW_CONTROL', () => {
    for (const [cost, code] of [[100_000, undefined], [100_001, FLOW_CONTROL], [2 ** 52, FLOW_CONTROL]] as const) {
      const scene = new Scene()
      scene.opened()
      scene.send(channelClose(scene.theirs, { abort: true, final: 3, cost }))
      scene.expectClean(code)
    }
  })

  it('credit and limits of 2^53 − 1 are taken as they are', () => {
    const most = BigInt(Number.MAX_SAFE_INTEGER)
    const scene = new Scene()
    scene.send(open(scene.theirs, { credit: most }))
    scene.send([0x06, ...vi(most, 8)], [0x07, ...vi(scene.theirs), ...vi(most, 8)], [0x08, ...vi(most, 8)], [0x09, ...vi(scene.theirs), ...vi(most, 8)])
    scene.expectClean(undefined)
  })
})

describe('fragments', () => {
  it('overlaps: the first bytes stay', () => {
    const scene = new Scene()
    scene.opened()
    scene.send(fragment(scene.theirs, 0, 0, 6, [1, 1, 1]), fragment(scene.theirs, 0, 2, 6, [2, 2, 2]), fragment(scene.theirs, 0, 0, 6, [3, 3, 3, 3, 3, 3]))
    expect(scene.lone.messages.map(({ bytes }) => [...bytes])).toEqual([[1, 1, 1, 2, 2, 3]])
    scene.expectClean(undefined)
  })

  it('two totals for one message, or a whole one of another length: PROTOCOL', () => {
    for (const second of [(id: number) => fragment(id, 0, 0, 7, [1]), (id: number) => message(id, 0, [1, 2])]) {
      for (const mode of [0, 2]) {
        const scene = new Scene()
        scene.opened(mode)
        scene.send(fragment(scene.theirs, 0, 3, 6, [1]))
        scene.send(second(scene.theirs))
        if (mode === 0 || second(scene.theirs)[0] === 0x13) scene.expectClean(PROTOCOL)
        else scene.expectClean(undefined)
      }
    }
  })

  it('1024 pieces of one message are right, 1025 are LIMIT', () => {
    const scene = new Scene()
    scene.opened()
    const piece = (i: number): number[] => fragment(scene.theirs, 0, 2 * i, 9000, [1])
    for (let i = 0; i < 1024; i += 64) scene.send(...Array.from({ length: 64 }, (_, k) => piece(i + k)))
    expect(scene.closed).toBeUndefined()
    scene.send(piece(1024))
    scene.expectClean(LIMIT)
  })

  it('unreliable ones are bounded per session, and gone after a second', () => {
    const scene = new Scene({ maxMessage: 1 << 20, maxChannelData: 2 << 20, maxData: 8 << 20, maxChannels: 256 }, 64 << 20)
    for (let i = 0; i < 64; i++) scene.opened(2, scene.theirs + 2 * i)
    const before = scene.lone.endpoint.arena.used
    for (let i = 0; i < 64; i++) for (let id = 0; id < 8; id++) scene.send(fragment(scene.theirs + 2 * i, id, 0, 1 << 18, [1]))
    expect(scene.lone.endpoint.arena.used - before).toBeLessThanOrEqual(9 << 20)
    expect(scene.lone.endpoint.arena.used - before).toBeGreaterThan(4 << 20)
    scene.take(scene.lone.advance(1.1 * SECOND))
    expect(scene.lone.endpoint.arena.used - before).toBeLessThan(1 << 17)
    scene.expectClean(undefined)
  })
})

describe('floods', () => {
  it('PATH_CHALLENGE: at most 16 answers a second, 4 at a time', () => {
    const scene = new Scene()
    let answers = 0
    for (let ms = 0; ms < 2000; ms += 10) {
      const frames = scene.send(...Array.from({ length: 20 }, () => challenge()))
      const now = frames.filter(({ type }) => type === 0x0b).length
      expect(now).toBeLessThanOrEqual(4)
      answers += now
      scene.take(scene.lone.advance(10_000))
    }
    expect(answers).toBeLessThanOrEqual(16 + 33)
    expect(scene.lone.counters['challenges_ignored']).toBeGreaterThan(3900)
    scene.expectClean(undefined)
  })

  it('OBSERVED_ADDRESS: one event a second, whatever it says', () => {
    const scene = new Scene()
    for (let i = 0; i < 1000; i++) scene.send(...Array.from({ length: 20 }, (_, k) => observed(20 * i + k, [i & 255, k, 1, 1])))
    expect(scene.lone.events.filter(({ kind }) => kind === 'observed-address').length).toBeLessThanOrEqual(1)
    scene.expectClean(undefined)
  })

  it('BLOCKED, MAX_DATA and unsolicited PATH_RESPONSE earn acknowledgements and nothing more', () => {
    const scene = new Scene()
    scene.opened()
    let sent = 0
    for (let i = 0; i < 500; i++) sent += scene.send([0x08, ...vi(i)], [0x09, ...vi(scene.theirs), ...vi(i)], [0x06, ...vi(i)], [0x0b, 1, 2, 3, 4, 5, 6, 7, 8]).filter(({ type }) => type !== 0x02 && type !== 0x03).length
    expect(sent).toBeLessThan(10)
    scene.expectClean(undefined)
  })

  it('datagrams from a thousand sources: 8 paths, and no more bytes to any than came from it', () => {
    const scene = new Scene()
    const balance = new Map<string, number>()
    for (let i = 0; i < 1000; i++) {
      const from = address(`198.51.${i >> 8}.${i & 255}`)
      const bytes = scene.session.seal(ping)
      balance.set(from.join(), bytes.length)
      for (const sent of [...scene.lone.receive({ from, bytes }), ...scene.lone.advance(1000)]) {
        const key = sent.to.join()
        if (key !== PEER.join() && key !== OTHER.join()) balance.set(key, (balance.get(key) ?? 0) - sent.bytes.length)
      }
    }
    expect(Math.min(...balance.values())).toBeGreaterThanOrEqual(0)
    expect(scene.lone.act((endpoint) => endpoint.peerStats(endpoint.findPeer(scene.peer.id)!)!.paths.length)).toBeLessThanOrEqual(8)
    scene.expectClean(undefined)
  })

  it('a max_ack_delay of a thousand years does not keep a closed session', () => {
    const lone = new LoneEndpoint({ provider: new SimProvider(new SeededRandom(1)), seed: repeated(1), peers: [peerRecord(new HandPeer(new SimProvider(new SeededRandom(2)), 9).id)] })
    const peer = new HandPeer(new SimProvider(new SeededRandom(2)), 9)
    const initiation = peer.dial(lone.endpoint.id, { wall: lone.wall, limits: { maxAckDelayMs: 2 ** 45, idleKeepS: 2 ** 40, maxChannels: 2 ** 40, maxDatagram: 0 } })
    const b = lone.receive({ from: PEER, bytes: initiation.datagram() }).find(({ bytes }) => bytes[0] === 0x60)!
    const session = initiation.finish(b.bytes)
    lone.receive({ from: PEER, bytes: session.seal([0x15]) })
    expect(lone.endpoint.tables()['sessions']).toBe(1)
    lone.advance(30 * SECOND)
    expect(lone.endpoint.tables()['sessions']).toBe(0)
  })
})

describe('CLOSE', () => {
  it('ends the session with its reason, an unknown code as protocol; nothing is answered', () => {
    for (const [code, reason] of [[0, 'done'], [1, 'shutting_down'], [3, 'protocol'], [8, 'revoked'], [14, 'busy'], [999, 'protocol']] as const) {
      const scene = new Scene()
      expect(scene.send(close(code, 'bye'))).toEqual([])
      expect(scene.lone.events.at(-1)).toMatchObject({ kind: 'peer', state: 'offline', reason })
      scene.expectClean(undefined)
    }
  })

  it('our CLOSE is repeated to what still comes, at most once per PTO, for 3 PTO', () => {
    const scene = new Scene()
    scene.send([0x15])
    let repeats = 0
    for (let i = 0; i < 300; i++) {
      repeats += scene.take([...scene.lone.receive({ from: PEER, bytes: scene.session.seal(ping) }), ...scene.lone.advance(1000)]).filter(({ type }) => type === 0x3f).length
    }
    expect(repeats).toBeGreaterThanOrEqual(1)
    expect(repeats).toBeLessThanOrEqual(4)
    scene.expectClean(PROTOCOL)
  })
})
