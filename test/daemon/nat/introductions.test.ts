import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { encodeAddress } from '../../../src/core/base/address.ts'
import type { ChannelHandle, PeerHandle } from '../../../src/core/base/domain.ts'
import { toInstant, toWallTime } from '../../../src/core/base/time.ts'
import type { PeerStats } from '../../../src/core/endpoint/contract.ts'
import { decodeIntroduction, encodeIntroduction, INTRODUCE_APP, INTRODUCED_APP } from '../../../src/core/wire/introduction.ts'
import { Introductions, type IntroductionsHost } from '../../../src/daemon/nat/introductions.ts'
import { repeated } from '../../support/bytes.ts'

const OWN = encodeAddress('198.51.100.1', 7000)!
const THEIRS = encodeAddress('203.0.113.9', 7000)!

type State = PeerStats['state']

/** A node with peers 1, 2, … of the ids 01…, 02…; what it does is written down. */
class Stage implements IntroductionsHost {
  readonly states = new Map<number, State>()
  readonly strangers = new Set<number>()
  readonly opened: { readonly to: number; readonly app: string; readonly meta: Uint8Array }[] = []
  readonly rejected: number[] = []
  readonly connected: { readonly id: Uint8Array; readonly addresses: readonly Uint8Array[] }[] = []
  readonly sought: number[] = []
  /** What peers were said to be. */
  readonly hard = new Map<number, boolean>()
  readonly introductions: Introductions
  #channel = 100

  constructor(states: readonly State[], serve = true) {
    states.forEach((state, i) => this.states.set(i + 1, state))
    this.introductions = new Introductions(this, { serve, addresses: () => [OWN], hard: () => false, seek: (peer) => this.sought.push(peer) })
  }

  readonly endpoint: IntroductionsHost['endpoint'] = {
    peers: () => [...this.states.keys()] as PeerHandle[],
    peerStats: (peer) => {
      const state = this.states.get(peer)
      return state === undefined ? undefined : { id: repeated(peer, 32), state, inRoster: !this.strangers.has(peer) } as PeerStats
    },
    findPeer: (id) => (this.states.has(id[0]!) ? id[0]! as PeerHandle : undefined),
    noteWhereabouts: (peer, { hard }) => void this.hard.set(peer, hard),
    connect: (_now, id, { addresses }) => {
      this.connected.push({ id, addresses })
      return id[0]! as PeerHandle
    },
    openChannel: (_now, to, { app, meta }) => {
      this.opened.push({ to, app, meta })
      return this.#channel++ as ChannelHandle
    },
    rejectChannel: (_now, _channel, code) => void this.rejected.push(code),
  }

  now(): { mono: ReturnType<typeof toInstant>; wall: ReturnType<typeof toWallTime> } {
    return { mono: toInstant(0), wall: toWallTime(0) }
  }

  schedule(): void {
    // Nothing is sent here.
  }

  becomes(peer: number, state: State, reason?: 'no_address'): void {
    this.states.set(peer, state)
    this.introductions.onPeer({ kind: 'peer', peer: peer as PeerHandle, state, reason })
  }

  hears(from: number, app: string, meta: Uint8Array): boolean {
    return this.introductions.onChannel({ kind: 'channel-incoming', channel: 7 as ChannelHandle, peer: from as PeerHandle, app, mode: 'reliable-ordered', lane: 'high', weight: 16, meta })
  }
}

function wish(id: number, answer = false, addresses = [THEIRS], hard = false): Uint8Array {
  return encodeIntroduction({ answer, hard, id: repeated(id, 32), addresses })
}

describe('introductions', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
  afterEach(() => void vi.useRealTimers())

  it('ask peers that are connected when a dial is not answered, a few of them, and not for ever', () => {
    const stage = new Stage(['offline', 'connected', 'connected', 'offline', 'connected', 'connected'])
    stage.becomes(1, 'dialing')
    vi.advanceTimersByTime(1400)
    expect(stage.opened).toEqual([])
    vi.advanceTimersByTime(200)
    expect(stage.opened.map(({ to, app }) => [to, app])).toEqual([[2, INTRODUCE_APP], [3, INTRODUCE_APP], [5, INTRODUCE_APP]])
    expect(decodeIntroduction(stage.opened[0]!.meta)).toEqual({ answer: false, hard: false, id: repeated(1, 32), addresses: [OWN] })
    vi.advanceTimersByTime(3_600_000)
    expect(stage.opened).toHaveLength(18)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ask no more once the peer is there, or who introduces nobody', () => {
    const stage = new Stage(['offline', 'connected'])
    stage.becomes(1, 'dialing')
    vi.advanceTimersByTime(1600)
    expect(stage.introductions.onChannel({ kind: 'channel-closed', channel: 100 as ChannelHandle, code: 1, reason: '', by: 'peer' })).toBe(true)
    vi.advanceTimersByTime(60_000)
    expect(stage.opened).toHaveLength(1)
    stage.becomes(1, 'connected')
    stage.becomes(2, 'offline')
    stage.becomes(2, 'connected')
    stage.becomes(1, 'dialing')
    stage.becomes(1, 'connected')
    vi.advanceTimersByTime(60_000)
    expect(stage.opened).toHaveLength(1)
  })

  it('help where no address is known at all', () => {
    const stage = new Stage(['offline', 'connected'])
    stage.becomes(1, 'offline', 'no_address')
    vi.advanceTimersByTime(1)
    expect(stage.opened).toHaveLength(1)
  })

  it('go out again when somebody wants the peer again', () => {
    const stage = new Stage(['offline', 'connected'])
    stage.becomes(1, 'dialing')
    vi.advanceTimersByTime(1600)
    stage.becomes(1, 'dialing')
    expect(stage.opened).toHaveLength(1)
    vi.advanceTimersByTime(3000)
    stage.becomes(1, 'dialing')
    expect(stage.opened).toHaveLength(2)
  })

  it('are passed on between two of the roster that are connected, and the asker learns nothing else', () => {
    const stage = new Stage(['connected', 'connected', 'offline'])
    expect(stage.hears(1, INTRODUCE_APP, wish(2))).toBe(true)
    expect(stage.opened).toEqual([{ to: 2, app: INTRODUCED_APP, meta: wish(1) }])
    for (const [from, meta] of [[1, wish(3)], [1, wish(9)], [1, wish(1)], [1, new Uint8Array(3)]] as const) stage.hears(from, INTRODUCE_APP, meta)
    stage.strangers.add(1)
    stage.hears(1, INTRODUCE_APP, wish(2))
    expect(stage.opened).toHaveLength(1)
    expect(stage.rejected).toEqual([0, 0, 0, 0, 0, 0])
    expect(stage.introductions.stats()).toMatchObject({ introductions_forwarded: 1, introductions_refused: 5 })
  })

  it('are not passed on by who does not serve', () => {
    const stage = new Stage(['connected', 'connected'], false)
    expect(stage.hears(1, INTRODUCE_APP, wish(2))).toBe(true)
    expect(stage.opened).toEqual([])
    expect(stage.rejected).toEqual([1])
  })

  it('are followed: the one named is dialed, and told where we are, once', () => {
    const stage = new Stage(['connected', 'offline'])
    stage.hears(1, INTRODUCED_APP, wish(2))
    expect(stage.connected).toEqual([{ id: repeated(2, 32), addresses: [THEIRS] }])
    expect(stage.sought).toEqual([2])
    expect(stage.opened).toEqual([{ to: 1, app: INTRODUCE_APP, meta: wish(2, true, [OWN]) }])
    stage.hears(1, INTRODUCED_APP, wish(2, true))
    expect(stage.sought).toEqual([2, 2])
    expect(stage.opened).toHaveLength(1)
  })

  it('carry whether the one named is hard to find, also when they are passed on', () => {
    const stage = new Stage(['connected', 'connected', 'offline'])
    stage.hears(1, INTRODUCED_APP, wish(3, true, [THEIRS], true))
    expect(stage.hard).toEqual(new Map([[3, true]]))
    stage.hears(1, INTRODUCED_APP, wish(3, true))
    expect(stage.hard).toEqual(new Map([[3, false]]))
    stage.hears(1, INTRODUCE_APP, wish(2, false, [THEIRS], true))
    expect(decodeIntroduction(stage.opened[0]!.meta)).toMatchObject({ hard: true })
  })

  it('send nobody anywhere for a stranger, or to what is no peer', () => {
    const stage = new Stage(['connected', 'offline', 'connected'])
    const places = ['127.0.0.1', '224.0.0.1', '255.255.255.255', '0.0.0.0', '169.254.1.1', '::1', 'ff02::1', 'fe80::1'].map((host) => encodeAddress(host, 7000)!)
    stage.hears(1, INTRODUCED_APP, wish(2, true, [...places, encodeAddress('203.0.113.9', 25)!]))
    expect(stage.connected).toEqual([])
    stage.hears(1, INTRODUCED_APP, wish(2, true, [encodeAddress('203.0.113.9', 443)!]))
    expect(stage.connected).toHaveLength(1)
    stage.strangers.add(2)
    stage.hears(1, INTRODUCED_APP, wish(2))
    stage.hears(1, INTRODUCED_APP, wish(9))
    stage.hears(1, INTRODUCED_APP, wish(3))
    expect(stage.connected).toHaveLength(1)
  })

  it('are heard 32 times in ten seconds from one peer', () => {
    const stage = new Stage(['connected', 'connected', 'connected'])
    for (let i = 0; i < 100; i++) stage.hears(1, INTRODUCE_APP, wish(2))
    expect(stage.opened).toHaveLength(32)
    stage.hears(3, INTRODUCE_APP, wish(2))
    expect(stage.opened).toHaveLength(33)
    vi.advanceTimersByTime(10_000)
    stage.hears(1, INTRODUCE_APP, wish(2))
    expect(stage.opened).toHaveLength(34)
  })

  it('leave other channels alone', () => {
    const stage = new Stage(['connected'])
    expect(stage.hears(1, 'postern/text', new Uint8Array(0))).toBe(false)
    expect(stage.introductions.onChannel({ kind: 'channel-closed', channel: 5 as ChannelHandle, code: 0, reason: '', by: 'peer' })).toBe(false)
  })
})
